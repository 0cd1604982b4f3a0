#include "compress/search/memo.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/file.h"
#include "format/json.h"

namespace lissom::search {
namespace {

constexpr uint64_t kMaxMemo = 64U << 20;
constexpr size_t kMaxValues = 4096;

/// False for a line that is no measurement: it and what follows are forgotten.
bool read_line(std::string_view line, std::string& name, std::vector<double>& values) {
  const auto json = parse_json(line, "search journal");
  if (!json || !json->is_object()) return false;
  const auto what = json->find("measured"), numbers = json->find("values");
  if (what == json->end() || !what->is_string() || numbers == json->end() || !numbers->is_array() ||
      numbers->size() > kMaxValues)
    return false;
  name = what->get<std::string>();
  for (const Json& number : *numbers) {
    if (!number.is_number()) return false;
    values.push_back(number.get<double>());
  }
  return true;
}

}  // namespace

Result<std::unique_ptr<Memo>> Memo::open(const std::filesystem::path& path, const std::string& run) {
  std::unique_ptr<Memo> memo(new Memo);
  memo->path_ = path;
  memo->fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (memo->fd_ < 0) return io_error(path.string() + ": " + std::strerror(errno));
  if (::flock(memo->fd_, LOCK_EX | LOCK_NB) != 0)
    return io_error(path.string() + ": another process is searching for this output");
  std::string text;
  if (auto old = read_file(path, kMaxMemo)) text = std::move(*old);
  const std::string first = run + "\n";
  if (text.starts_with(first)) {
    memo->end_ = first.size();
    while (memo->end_ < text.size()) {
      const size_t end = text.find('\n', memo->end_);
      std::string name;
      std::vector<double> values;
      if (end == std::string::npos ||
          !read_line(std::string_view(text).substr(memo->end_, end - memo->end_), name, values))
        break;
      memo->values_[name] = std::move(values);
      memo->end_ = end + 1;
    }
  }
  if (::ftruncate(memo->fd_, static_cast<off_t>(memo->end_)) != 0)
    return io_error(path.string() + ": " + std::strerror(errno));
  if (memo->end_ == 0) LISSOM_CHECK(memo->append(first));
  return memo;
}

Memo::~Memo() {
  if (fd_ >= 0) ::close(fd_);
}

const std::vector<double>* Memo::find(const std::string& name) const {
  const auto it = values_.find(name);
  return it == values_.end() ? nullptr : &it->second;
}

Result<void> Memo::add(const std::string& name, const std::vector<double>& values) {
  LISSOM_CHECK(append(Json{{"measured", name}, {"values", values}}.dump() + "\n"));
  values_[name] = values;
  return {};
}

Result<void> Memo::append(const std::string& line) {
  for (size_t done = 0; done < line.size();) {
    const ssize_t n = ::pwrite(fd_, line.data() + done, line.size() - done, static_cast<off_t>(end_ + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return io_error(path_.string() + ": " + std::strerror(n < 0 ? errno : ENOSPC));
    done += static_cast<size_t>(n);
  }
  end_ += line.size();
  if (::fdatasync(fd_) != 0) return io_error(path_.string() + ": " + std::strerror(errno));
  return {};
}

void Memo::remove() {
  ::unlink(path_.c_str());
}

}  // namespace lissom::search
