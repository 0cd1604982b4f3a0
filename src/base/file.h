#pragma once
// Files: a read-only mapping, and a writer that leaves either the whole file or nothing.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "lissom/result.h"

namespace lissom {

/// A file mapped read-only. Empty files map to an empty span. The file must not shrink while it is mapped: the
/// system answers a read past its new end with SIGBUS.
class MappedFile {
 public:
  [[nodiscard]] static Result<std::shared_ptr<MappedFile>> open(const std::filesystem::path& path);
  /// The same view of bytes that lie in memory and outlive it; `name` stands for the path in messages.
  [[nodiscard]] static std::shared_ptr<MappedFile> borrow(std::span<const std::byte> bytes,
                                                          const std::string& name);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  [[nodiscard]] std::span<const std::byte> bytes() const { return {data_, size_}; }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  /// Drops the resident pages of this range (MADV_DONTNEED on whole pages inside it).
  void drop(size_t offset, size_t length) const;
  void will_need(size_t offset, size_t length) const;

 private:
  MappedFile() = default;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
  bool mapped_ = false;
  std::filesystem::path path_;
};

/// The whole of a small file (config.json, a YAML). Refuses more than `limit` bytes.
[[nodiscard]] Result<std::string> read_file(const std::filesystem::path& path, uint64_t limit);

/// Writes to `path`.partial; commit() syncs the file, renames it and syncs its folder. Destroyed before
/// commit(), it removes the temporary. A second writer of the same path is refused while the first one lives.
/// After a failed write commit() fails too, so that a caller that overlooks an error cannot publish a file with
/// a hole.
class AtomicFile {
 public:
  struct Options {
    bool resume = false;        ///< open an existing `path`.partial for appending instead of truncating
    bool keep_partial = false;  ///< leave `path`.partial on destruction
  };
  [[nodiscard]] static Result<std::unique_ptr<AtomicFile>> create(const std::filesystem::path& path,
                                                                  const Options& options);
  [[nodiscard]] static Result<std::unique_ptr<AtomicFile>> create(const std::filesystem::path& path) {
    return create(path, Options{});
  }
  /// Where the bytes are until commit().
  [[nodiscard]] static std::filesystem::path partial_path(const std::filesystem::path& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  [[nodiscard]] Result<void> write(std::span<const std::byte> data);
  [[nodiscard]] Result<void> write(std::string_view text);
  [[nodiscard]] Result<void> overwrite(std::string_view text);  ///< the file's beginning, which is as long
  /// Anywhere, also behind the end; leaves position() alone.
  [[nodiscard]] Result<void> write_at(uint64_t offset, std::span<const std::byte> data);
  [[nodiscard]] Result<void> truncate(uint64_t size);  ///< shortens, and continues writing there
  [[nodiscard]] Result<void> flush();                  ///< everything written so far is on disk
  [[nodiscard]] Result<void> commit();
  [[nodiscard]] uint64_t position() const { return position_; }

 private:
  AtomicFile() = default;
  [[nodiscard]] Result<void> open_temporary();
  [[nodiscard]] tl::unexpected<Error> fail(const std::string& action, int error_number);

  std::filesystem::path path_, temporary_;
  int fd_ = -1;
  uint64_t position_ = 0;
  bool keep_partial_ = false, committed_ = false, failed_ = false;
};

/// AtomicFile in one call.
[[nodiscard]] Result<void> write_file(const std::filesystem::path& path, std::string_view text);

}  // namespace lissom
