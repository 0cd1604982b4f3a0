#include "hub/cache.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "base/file.h"
#include "base/text.h"
#include "hub/model_id.h"

namespace lissom::hub {
namespace {

namespace fs = std::filesystem;

Result<void> make_folders(const fs::path& path) {
  std::error_code code;
  fs::create_directories(path, code);
  if (code) return io_error(path.string() + ": " + code.message());
  return {};
}

std::string folder_name(const std::string& repo) {
  const size_t slash = repo.find('/');
  return "models--" + repo.substr(0, slash) + "--" + repo.substr(slash + 1);
}

}  // namespace

RepoCache::RepoCache(fs::path cache, const std::string& repo)
    : cache_(std::move(cache)), folder_(cache_ / folder_name(repo)) {}

fs::path RepoCache::lock(const std::string& etag) const {
  return cache_ / ".locks" / folder_.filename() / (etag + ".lock");
}
fs::path RepoCache::snapshot(const std::string& commit) const {
  return folder_ / "snapshots" / commit;
}
fs::path RepoCache::pointer(const std::string& commit, const std::string& path) const {
  return snapshot(commit) / path;
}

Result<std::string> RepoCache::commit_of(const std::string& revision) const {
  std::error_code ignored;
  if (is_commit(revision)) return fs::is_directory(snapshot(revision), ignored) ? revision : std::string();
  const fs::path ref = folder_ / "refs" / revision;
  if (!fs::is_regular_file(ref, ignored)) return std::string();
  LISSOM_TRY(std::string commit, read_file(ref, 256));
  while (!commit.empty() && (commit.back() == '\n' || commit.back() == '\r' || commit.back() == ' '))
    commit.pop_back();
  const bool plain = !commit.empty() && std::ranges::all_of(commit, [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z');
  });
  if (!plain) return bad_input(ref.string() + ": " + in_quotes(commit) + " is not a commit");
  return commit;
}

Result<void> RepoCache::prepare() const {
  LISSOM_CHECK(make_folders(folder_ / "blobs"));
  LISSOM_CHECK(make_folders(cache_ / ".locks" / folder_.filename()));
  const fs::path tag = cache_ / "CACHEDIR.TAG";
  std::error_code ignored;
  if (!fs::exists(tag, ignored))
    // Best effort: the cache is as good without it. The first line is fixed by bford.info/cachedir.
    (void)write_file(tag,
                     "Signature: 8a477f597d28d172789f06886806bc55\n# This folder holds downloads of the "
                     "Hugging Face hub; they can be downloaded again.\n");
  return {};
}

Result<void> RepoCache::write_ref(const std::string& revision, const std::string& commit) const {
  if (revision == commit) return {};
  const fs::path ref = folder_ / "refs" / revision;
  if (const auto old = read_file(ref, 256); old && *old == commit) return {};
  LISSOM_CHECK(make_folders(ref.parent_path()));
  // A name of this process's own, so that two that write the same at once do not meet.
  const fs::path temporary = ref.string() + "." + std::to_string(::getpid()) + ".tmp";
  LISSOM_CHECK(write_file(temporary, commit));
  std::error_code code;
  fs::rename(temporary, ref, code);
  if (code) return io_error(ref.string() + ": " + code.message());
  return {};
}

Result<void> RepoCache::link(const std::string& commit, const std::string& path,
                             const std::string& etag) const {
  const fs::path at = pointer(commit, path);
  std::error_code code;
  if (fs::exists(at, code)) return {};
  LISSOM_CHECK(make_folders(at.parent_path()));
  const auto depth = 2 + std::ranges::count(path, '/');
  std::string target;
  for (auto i = depth; i > 0; --i) target += "../";
  target += "blobs/" + etag;
  if (fs::is_symlink(at, code)) fs::remove(at, code);  // to a blob that is gone
  if (::symlink(target.c_str(), at.c_str()) == 0) return {};
  if (errno == EEXIST && fs::exists(at, code)) return {};  // another process was quicker
  if (errno == EPERM || errno == EOPNOTSUPP || errno == ENOSYS) {
    fs::rename(blob(etag), at, code);
    if (!code) return {};
    return io_error(at.string() + ": " + code.message());
  }
  return io_error(at.string() + ": " + std::generic_category().message(errno));
}

Result<void> RepoCache::mark_absent(const std::string& commit, const std::string& path) const {
  const fs::path at = folder_ / ".no_exist" / commit / path;
  std::error_code ignored;
  if (fs::exists(at, ignored)) return {};
  LISSOM_CHECK(make_folders(at.parent_path()));
  const int fd = ::open(at.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  if (fd < 0) return io_error(at.string() + ": " + std::generic_category().message(errno));
  ::close(fd);
  return {};
}

Result<std::unique_ptr<FileLock>> FileLock::try_lock(const fs::path& path) {
  // Python's filelock removes a lock's file when it lets go: one that was removed meanwhile guards nothing.
  for (int attempt = 0; attempt < 10; ++attempt) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0664);
    if (fd < 0) return io_error(path.string() + ": " + std::generic_category().message(errno));
    std::unique_ptr<FileLock> lock(new FileLock());
    lock->fd_ = fd;
    if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
      if (errno == EWOULDBLOCK || errno == EACCES || errno == EINTR) return std::unique_ptr<FileLock>();
      return lock;
    }
    struct stat status {};
    if (::fstat(fd, &status) == 0 && status.st_nlink > 0) return lock;
  }
  return std::unique_ptr<FileLock>();
}

FileLock::~FileLock() {
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace lissom::hub
