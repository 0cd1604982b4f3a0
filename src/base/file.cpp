#include "base/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>

namespace lissom {
namespace {

namespace fs = std::filesystem;

tl::unexpected<Error> system_error(const fs::path& path, const std::string& action, int error_number) {
  return io_error(path.string() + ": " + action + ": " + std::generic_category().message(error_number));
}

/// Opens a regular file for reading. Non-blocking, so that a FIFO is refused rather than waited for.
Result<int> open_regular(const fs::path& path, uint64_t& size) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return system_error(path, "cannot open", errno);
  struct stat status {};
  const int failed = ::fstat(fd, &status);
  const int error_number = errno;
  if (failed == 0 && S_ISREG(status.st_mode)) {
    size = static_cast<uint64_t>(status.st_size);
    return fd;
  }
  ::close(fd);
  if (failed != 0) return system_error(path, "cannot stat", error_number);
  return bad_input(path.string() +
                   (S_ISDIR(status.st_mode) ? ": is a folder, not a file" : ": is not a regular file"));
}

Result<void> sync_folder(const fs::path& file) {
  const fs::path folder = file.has_parent_path() ? file.parent_path() : fs::path(".");
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  // A folder that may be written but not read cannot be synced, nor do all file systems know how.
  if (fd < 0) return {};
  const int failed = ::fsync(fd);
  const int error_number = errno;
  ::close(fd);
  if (failed != 0 && error_number != EINVAL && error_number != ENOTSUP)
    return system_error(folder, "cannot sync the folder", error_number);
  return {};
}

}  // namespace

Result<std::shared_ptr<MappedFile>> MappedFile::open(const fs::path& path) {
  uint64_t size = 0;
  LISSOM_TRY(const int fd, open_regular(path, size));
  std::shared_ptr<MappedFile> file(new MappedFile());
  file->path_ = path;
  if (size > 0) {
    void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
    const int error_number = errno;
    ::close(fd);
    if (data == MAP_FAILED) return system_error(path, "cannot map", error_number);
    file->data_ = static_cast<const std::byte*>(data);
    file->size_ = size;
    file->mapped_ = true;
  } else {
    ::close(fd);
  }
  return file;
}

std::shared_ptr<MappedFile> MappedFile::borrow(std::span<const std::byte> bytes, const std::string& name) {
  std::shared_ptr<MappedFile> file(new MappedFile());
  file->path_ = name;
  file->data_ = bytes.data();
  file->size_ = bytes.size();
  return file;
}

MappedFile::~MappedFile() {
  if (mapped_) ::munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::drop(size_t offset, size_t length) const {
  // Borrowed memory has no file behind it: dropping its pages would lose their contents.
  if (!mapped_ || offset >= size_) return;
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const size_t end = length > size_ - offset ? size_ : offset + length;
  const size_t first = (offset + page - 1) / page * page;
  // The last page of the file belongs to the range as a whole, though the file ends inside it.
  const size_t last = end == size_ ? end : end / page * page;
  if (first < last) ::madvise(const_cast<std::byte*>(data_) + first, last - first, MADV_DONTNEED);
}

void MappedFile::will_need(size_t offset, size_t length) const {
  if (!mapped_ || offset >= size_) return;
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const size_t first = offset / page * page;
  const size_t end = length > size_ - offset ? size_ : offset + length;
  if (first < end) ::madvise(const_cast<std::byte*>(data_) + first, end - first, MADV_WILLNEED);
}

Result<std::string> read_file(const fs::path& path, uint64_t limit) {
  uint64_t size = 0;
  LISSOM_TRY(const int fd, open_regular(path, size));
  if (size > limit) {
    ::close(fd);
    return bad_input(path.string() + ": is " + std::to_string(size) + " bytes long; at most " +
                     std::to_string(limit) + " are expected here");
  }
  std::string text(size, '\0');
  size_t done = 0;
  while (done < size) {
    const ssize_t n = ::read(fd, text.data() + done, size - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const int error_number = errno;
      ::close(fd);
      return system_error(path, "cannot read", error_number);
    }
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  ::close(fd);
  text.resize(done);
  return text;
}

// ---------------------------------------------------------------- AtomicFile

fs::path AtomicFile::partial_path(const fs::path& path) {
  return path.string() + ".partial";
}

tl::unexpected<Error> AtomicFile::fail(const std::string& action, int error_number) {
  failed_ = true;
  return system_error(path_, action, error_number);
}

/// Opens and locks `path`.partial. A writer that renamed the file between our open and our lock leaves us
/// holding the finished file, so the name is looked up again under the lock.
Result<void> AtomicFile::open_temporary() {
  for (;;) {
    fd_ = ::open(temporary_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
    if (fd_ < 0) return fail("cannot write", errno);
    struct stat ours {
    }, named{};
    if (::fstat(fd_, &ours) != 0 || !S_ISREG(ours.st_mode)) {
      ::close(fd_);
      fd_ = -1;
      return fail("cannot write: " + temporary_.string() + " is in the way", EEXIST);
    }
    if (::flock(fd_, LOCK_EX | LOCK_NB) != 0 && (errno == EWOULDBLOCK || errno == EINTR)) {
      ::close(fd_);
      fd_ = -1;
      return io_error(path_.string() + ": is being written by another process");
    }
    if (::lstat(temporary_.c_str(), &named) == 0 && named.st_ino == ours.st_ino &&
        named.st_dev == ours.st_dev) {
      position_ = static_cast<uint64_t>(ours.st_size);
      return {};
    }
    ::close(fd_);
    fd_ = -1;
  }
}

Result<std::unique_ptr<AtomicFile>> AtomicFile::create(const fs::path& path, const Options& options) {
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode))
    return bad_input(path.string() + ": cannot write: a " +
                     (S_ISDIR(status.st_mode) ? "folder" : "device or pipe") + " has this name");
  std::unique_ptr<AtomicFile> file(new AtomicFile());
  file->path_ = path;
  file->temporary_ = partial_path(path);
  file->keep_partial_ = options.keep_partial;
  LISSOM_CHECK(file->open_temporary());
  if (!options.resume) LISSOM_CHECK(file->truncate(0));
  if (::lseek(file->fd_, 0, SEEK_END) < 0) return file->fail("cannot seek", errno);
  return file;
}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  if (!committed_ && !keep_partial_) ::unlink(temporary_.c_str());
  ::close(fd_);
}

Result<void> AtomicFile::write(std::span<const std::byte> data) {
  while (!data.empty()) {
    const ssize_t n = ::write(fd_, data.data(), std::min<size_t>(data.size(), 1U << 30U));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail("cannot write", errno);
    position_ += static_cast<uint64_t>(n);
    data = data.subspan(static_cast<size_t>(n));
  }
  return {};
}

Result<void> AtomicFile::write(std::string_view text) {
  return write(std::as_bytes(std::span<const char>(text.data(), text.size())));
}

Result<void> AtomicFile::overwrite(std::string_view text) {
  if (text.size() > position_) return fail("cannot replace " + std::to_string(text.size()) + " bytes", EINVAL);
  return write_at(0, std::as_bytes(std::span<const char>(text.data(), text.size())));
}

Result<void> AtomicFile::write_at(uint64_t offset, std::span<const std::byte> data) {
  for (size_t done = 0; done < data.size();) {
    const size_t n_wanted = std::min<size_t>(data.size() - done, 1U << 30U);
    const ssize_t n = ::pwrite(fd_, data.data() + done, n_wanted, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail("cannot write", errno);
    done += static_cast<size_t>(n);
  }
  return {};
}

Result<void> AtomicFile::truncate(uint64_t size) {
  if (size > position_) return fail("cannot shorten to " + std::to_string(size) + " bytes", EINVAL);
  if (::ftruncate(fd_, static_cast<off_t>(size)) != 0) return fail("cannot shorten", errno);
  if (::lseek(fd_, static_cast<off_t>(size), SEEK_SET) < 0) return fail("cannot seek", errno);
  position_ = size;
  return {};
}

Result<void> AtomicFile::flush() {
  if (::fdatasync(fd_) != 0) return fail("cannot sync", errno);
  return {};
}

Result<void> AtomicFile::commit() {
  if (failed_) return io_error(path_.string() + ": not written, since an earlier write to it failed");
  if (committed_) return io_error(path_.string() + ": committed twice");
  if (::fsync(fd_) != 0) return fail("cannot sync", errno);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) return fail("cannot rename into place", errno);
  committed_ = true;
  return sync_folder(path_);
}

Result<void> write_file(const fs::path& path, std::string_view text) {
  LISSOM_TRY(const auto file, AtomicFile::create(path));
  LISSOM_CHECK(file->write(text));
  return file->commit();
}

}  // namespace lissom
