#pragma once
// The cache that huggingface_hub lays out, shared with it:
//   models--ORG--NAME/blobs/ETAG              the bytes; ETAG.incomplete while they come
//   models--ORG--NAME/snapshots/COMMIT/PATH   a relative link to the blob
//   models--ORG--NAME/refs/REVISION           the commit that a branch or tag meant when it was last asked
//   models--ORG--NAME/.no_exist/COMMIT/PATH   an empty file: the revision has no such file
//   .locks/models--ORG--NAME/ETAG.lock        flock(2) by who writes the blob

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "lissom/result.h"

namespace lissom::hub {

class RepoCache {
 public:
  RepoCache(std::filesystem::path cache, const std::string& repo);
  [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }
  [[nodiscard]] std::filesystem::path blob(const std::string& etag) const { return folder_ / "blobs" / etag; }
  [[nodiscard]] std::filesystem::path lock(const std::string& etag) const;
  [[nodiscard]] std::filesystem::path snapshot(const std::string& commit) const;
  [[nodiscard]] std::filesystem::path pointer(const std::string& commit, const std::string& path) const;

  /// The commit whose snapshot lies here for this branch, tag or commit; "" where nothing is known of it.
  [[nodiscard]] Result<std::string> commit_of(const std::string& revision) const;
  /// Makes the folders, and the tag that tells backup programs what this is.
  [[nodiscard]] Result<void> prepare() const;
  [[nodiscard]] Result<void> write_ref(const std::string& revision, const std::string& commit) const;
  /// Lets the snapshot's `path` point at the blob. Where the file system has no links, the blob is moved there.
  [[nodiscard]] Result<void> link(const std::string& commit, const std::string& path,
                                  const std::string& etag) const;
  [[nodiscard]] Result<void> mark_absent(const std::string& commit, const std::string& path) const;

 private:
  std::filesystem::path cache_, folder_;
};

/// An exclusive flock on a file, held until it is destroyed; the file stays.
class FileLock {
 public:
  /// Nothing where another holds it. Where the file system has no locks this succeeds without one: the checksum
  /// guards what two writers might do.
  [[nodiscard]] static Result<std::unique_ptr<FileLock>> try_lock(const std::filesystem::path& path);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  FileLock() = default;
  int fd_ = -1;
};

}  // namespace lissom::hub
