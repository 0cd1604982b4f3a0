#include "hub/headers.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <system_error>

#include "base/file.h"

namespace lissom::hub {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kPrefix = 8;
constexpr uint64_t kLongestHeader = 100'000'000;  // as the reader of safetensors has it
constexpr uint64_t kFirstRequest = 256U << 10;    // mostly the whole header

bool is_weights(const RepoFile& file) {
  return file.path.ends_with(".safetensors");
}

/// The first `length` bytes of the file.
Result<std::string> fetch_beginning(Http& http, const DownloadTask& task, const RepoFile& file, uint64_t length,
                                    const Progress& progress) {
  TextRequest request;
  request.url = file_url(task.settings.endpoint, task.repo, task.commit, file.path);
  request.range = "0-" + std::to_string(length - 1);
  request.limit = length;
  request.cut = true;  // a server without ranges sends all of it
  LISSOM_TRY(Text text, fetch_text(http, request, progress));
  if (text.body.size() == length) return std::move(text.body);
  if (!text.outcome.ok())
    return tl::unexpected(explain(text.outcome, task.settings, task.repo, task.commit, file.path));
  return bad_input(task.repo + ": " + file.path + ": the server sends " + std::to_string(text.body.size()) +
                   " bytes where " + std::to_string(length) + " were asked for");
}

Result<std::string> fetch_header(Http& http, const DownloadTask& task, const RepoFile& file,
                                 const Progress& progress) {
  if (file.size < kPrefix) return bad_input(task.repo + ": " + file.path + ": is no safetensors file");
  LISSOM_TRY(std::string bytes,
             fetch_beginning(http, task, file, std::min(file.size, kFirstRequest), progress));
  uint64_t length = 0;
  for (size_t i = 0; i < kPrefix; ++i) length |= uint64_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
  if (length > kLongestHeader || length > file.size - kPrefix)
    return bad_input(task.repo + ": " + file.path + ": its header's length is " + std::to_string(length));
  if (bytes.size() < kPrefix + length) {
    LISSOM_TRY(bytes, fetch_beginning(http, task, file, kPrefix + length, progress));
  }
  bytes.resize(kPrefix + length);
  return bytes;
}

/// `at` becomes a file of `size` bytes that begins with these and is a hole behind them.
Result<void> write_sparse(const fs::path& at, const std::string& bytes, uint64_t size) {
  const fs::path temporary = at.string() + "." + std::to_string(::getpid());
  LISSOM_CHECK(write_file(temporary, bytes));
  std::error_code code;
  fs::resize_file(temporary, size, code);
  if (!code) fs::rename(temporary, at, code);
  if (code) return io_error(at.string() + ": " + code.message());
  return {};
}

/// Lets `at` point there, whatever was there before.
Result<void> point_to(const fs::path& at, const fs::path& target) {
  std::error_code code;
  if (fs::read_symlink(at, code) == target && !code) return {};
  const fs::path temporary = at.string() + "." + std::to_string(::getpid());
  fs::remove(temporary, code);
  fs::create_symlink(target, temporary, code);
  if (!code) fs::rename(temporary, at, code);
  if (code) return io_error(at.string() + ": " + code.message());
  return {};
}

}  // namespace

fs::path headers_cache() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return fs::path(value == nullptr ? "" : value);
  };
  const fs::path xdg = variable("XDG_CACHE_HOME");
  return (xdg.empty() ? variable("HOME") / ".cache" : xdg) / "lissom" / "headers";
}

Result<fs::path> fetch_headers(Http& http, const DownloadTask& task, const std::vector<RepoFile>& files,
                               const Progress& progress) {
  const fs::path folder = headers_cache() / task.cache.folder().filename() / task.commit;
  std::error_code code;
  const int64_t total = std::ranges::count_if(files, is_weights);
  int64_t done = 0;
  for (const RepoFile& file : files) {
    const fs::path at = folder / file.path;
    fs::create_directories(at.parent_path(), code);
    if (code) return io_error(at.parent_path().string() + ": " + code.message());
    const fs::path cached = fs::absolute(task.cache.pointer(task.commit, file.path), code);
    if (!is_weights(file) || fs::exists(cached, code)) {
      LISSOM_CHECK(point_to(at, cached));
      continue;
    }
    progress.report("headers", done++, total, file.path);
    if (!fs::is_symlink(at, code) && fs::file_size(at, code) == file.size && !code) continue;
    LISSOM_TRY(const std::string header, fetch_header(http, task, file, progress));
    LISSOM_CHECK(write_sparse(at, header, file.size));
  }
  if (done > 0) progress.report("headers", total, total);
  return folder;
}

}  // namespace lissom::hub
