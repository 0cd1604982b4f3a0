#include "compress/journal.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/file.h"
#include "base/hex.h"
#include "format/json.h"

namespace lissom {
namespace {

constexpr uint64_t kMaxJournal = 256U << 20;

std::string line_of(const JournalEntry& entry) {
  Json json = {{"tensor", entry.tensor},
               {"bytes", entry.bytes},
               {"xxh64", entry.checksum},
               {"relative_error", entry.relative_error}};
  if (entry.has_importance) json["weighted_relative_error"] = entry.weighted_relative_error;
  if (!entry.source.empty()) json["source_sha256"] = to_hex(entry.source);
  if (!entry.note.empty()) json["note"] = entry.note;
  return json.dump() + "\n";
}

/// False for a line that is no entry: it and what follows are forgotten.
bool read_entry(std::string_view line, JournalEntry& entry) {
  const auto json = parse_json(line, "journal");
  if (!json || !json->is_object()) return false;
  const auto text = [&](const char* key, std::string& out) {
    const auto it = json->find(key);
    if (it == json->end() || !it->is_string()) return false;
    out = it->get<std::string>();
    return true;
  };
  const auto number = [&](const char* key, double& out) {
    const auto it = json->find(key);
    if (it == json->end() || !it->is_number()) return false;
    out = it->get<double>();
    return true;
  };
  const auto unsigned_number = [&](const char* key, uint64_t& out) {
    const auto it = json->find(key);
    if (it == json->end() || !it->is_number_unsigned()) return false;
    out = it->get<uint64_t>();
    return true;
  };
  if (!unsigned_number("bytes", entry.bytes) || !unsigned_number("xxh64", entry.checksum)) return false;
  if (std::string hex; text("source_sha256", hex) && !from_hex(hex, entry.source)) return false;
  text("note", entry.note);
  entry.has_importance = number("weighted_relative_error", entry.weighted_relative_error);
  return text("tensor", entry.tensor) && number("relative_error", entry.relative_error);
}

}  // namespace

Result<std::unique_ptr<Journal>> Journal::open(const std::filesystem::path& path, const std::string& run) {
  std::unique_ptr<Journal> journal(new Journal);
  journal->path_ = path;
  journal->fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (journal->fd_ < 0) return io_error(path.string() + ": " + std::strerror(errno));
  if (::flock(journal->fd_, LOCK_EX | LOCK_NB) != 0)
    return io_error(path.string() + ": another process is writing this output");
  std::string text;
  if (auto old = read_file(path, kMaxJournal)) text = std::move(*old);
  const std::string first = run + "\n";
  journal->ends_.push_back(first.size());
  if (!text.starts_with(first)) {
    if (::ftruncate(journal->fd_, 0) != 0) return io_error(path.string() + ": " + std::strerror(errno));
    if (auto written = journal->write_at(0, first); !written) {
      journal->remove();
      return tl::unexpected(written.error());
    }
    return journal;
  }
  for (size_t begin = first.size(); begin < text.size();) {
    const size_t end = text.find('\n', begin);
    JournalEntry entry;
    if (end == std::string::npos || !read_entry(std::string_view(text).substr(begin, end - begin), entry))
      break;
    journal->entries_.push_back(std::move(entry));
    begin = end + 1;
    journal->ends_.push_back(begin);
  }
  LISSOM_CHECK(journal->keep(journal->entries_.size()));
  return journal;
}

Journal::~Journal() {
  if (fd_ >= 0) ::close(fd_);
}

Result<void> Journal::write_at(uint64_t offset, const std::string& text) {
  for (size_t done = 0; done < text.size();) {
    const ssize_t n = ::pwrite(fd_, text.data() + done, text.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return io_error(path_.string() + ": " + std::strerror(n < 0 ? errno : ENOSPC));
    done += static_cast<size_t>(n);
  }
  if (::fdatasync(fd_) != 0) return io_error(path_.string() + ": " + std::strerror(errno));
  return {};
}

Result<void> Journal::keep(size_t count) {
  entries_.resize(count);
  ends_.resize(count + 1);
  if (::ftruncate(fd_, static_cast<off_t>(ends_.back())) != 0)
    return io_error(path_.string() + ": " + std::strerror(errno));
  return {};
}

Result<void> Journal::append(const std::vector<JournalEntry>& entries) {
  std::string text;
  const uint64_t begin = ends_.back();
  for (const JournalEntry& entry : entries) {
    text += line_of(entry);
    entries_.push_back(entry);
    ends_.push_back(begin + text.size());
  }
  return text.empty() ? Result<void>() : write_at(begin, text);
}

void Journal::remove() {
  ::unlink(path_.c_str());
}

}  // namespace lissom
