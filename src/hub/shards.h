#pragma once
// The weights of a model on the hub, fetched while they are read: a shard at a time, in the order in which its
// tensors are needed, and within a bound of disk space given up again (docs/hub.md).

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "hub/cache.h"
#include "hub/listing.h"
#include "hub/settings.h"
#include "lissom/progress.h"
#include "lissom/result.h"
#include "lissom/tensor.h"

namespace lissom::hub {

/// What there is to fetch: safetensors of one commit.
struct RemoteWeights {
  Settings settings;
  RepoCache cache;
  std::string repo, revision, commit;
  std::vector<RepoFile> files;
  std::vector<std::string> absent;  ///< files that readers look for and this commit lacks
};

/// Fetches with threads of its own, which begin at the first read of what is not here. Every shard is checked
/// whole, as a plain download is, before a tensor of it is given out. Progress counts bytes under "download";
/// it is called from the thread that reads, and only while something is coming.
class Shards : public TensorSource {
 public:
  /// headers: all tensors, and `folder` the files with their headers that it was read from. progress is kept.
  [[nodiscard]] static Result<std::shared_ptr<Shards>> create(RemoteWeights weights,
                                                              std::shared_ptr<const TensorSource> headers,
                                                              const std::filesystem::path& folder,
                                                              const Progress& progress);
  /// Ends what is being fetched; a later run goes on there. Under a bound, removes what was fetched if all that
  /// was expected has been read.
  ~Shards() override;
  Shards(const Shards&) = delete;
  Shards& operator=(const Shards&) = delete;

  /// Before the first read: at most so many bytes of shards lie on the disk, apart from those that the cache
  /// has for good, which are neither counted nor removed. Then read() gives copies, and a shard is removed for
  /// the next one when its tensors are read. Without a bound the cache keeps all.
  void set_bound(uint64_t bytes);
  [[nodiscard]] uint64_t bound() const;
  [[nodiscard]] uint64_t missing() const;    ///< bytes of all shards that the cache has not for good
  [[nodiscard]] uint64_t disk_room() const;  ///< bytes of disk that fetching what is expected will take
  /// An error where the disk has not that room.
  [[nodiscard]] Result<void> check_disk() const;
  [[nodiscard]] const std::filesystem::path& cache_folder() const;
  /// A text that is the same where the weights' bytes are: the names and checksums of the files.
  [[nodiscard]] std::string identity() const;

  [[nodiscard]] std::span<const TensorInfo> tensors() const override;
  /// Waits for the shard. Errors: `unavailable` where it cannot be had.
  [[nodiscard]] Result<TensorView> read(size_t index) const override;
  void release(size_t index) const override;
  /// Errors: a bound that the largest shard does not fit in.
  [[nodiscard]] Result<void> expect(std::span<const size_t> indices) const override;
  [[nodiscard]] bool ready(size_t index) const override;
  [[nodiscard]] std::string origin() const override;
  [[nodiscard]] int64_t find(std::string_view name) const override;

 private:
  Shards() = default;
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lissom::hub
