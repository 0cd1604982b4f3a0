#pragma once
// SHA-256, and the digest of a checkpoint.

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/threads.h"
#include "lissom/model.h"
#include "lissom/progress.h"
#include "lissom/result.h"

namespace lissom {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;
  void update(std::span<const std::byte> data);
  void update(std::string_view text);
  [[nodiscard]] std::array<std::byte, 32> finish();
  [[nodiscard]] std::string finish_hex();

 private:
  struct State;
  std::unique_ptr<State> state_;
};
[[nodiscard]] std::string sha256_hex(std::string_view text);

/// Bytes of tensors that are read at a time, unless one alone has more.
inline constexpr uint64_t kDigestBatch = uint64_t{64} << 20U;

/// The raw SHA-256 of each 4 MiB of each tensor's bytes, 32 bytes after 32, by all threads.
[[nodiscard]] std::vector<std::string> piece_digests(std::span<const std::span<const std::byte>> tensors,
                                                     ThreadPool& pool);
/// Their number for a tensor of so many bytes.
[[nodiscard]] uint64_t piece_count(uint64_t bytes);

/// The digest of a checkpoint from those of its tensors' pieces, for who reads the tensors anyway.
class CheckpointDigest {
 public:
  [[nodiscard]] static Result<std::unique_ptr<CheckpointDigest>> begin(const Checkpoint& checkpoint);
  /// The next tensor in the checkpoint's order.
  void add(const TensorInfo& info, std::string_view pieces);
  [[nodiscard]] std::string finish();  ///< "sha256:…"
  /// As long as every digest, and none.
  [[nodiscard]] static std::string placeholder();

 private:
  Sha256 top_;
};

/// "sha256:…" of what the checkpoint holds, the same for every folder or file that holds the same. A tree, so
/// that all threads work at it: SHA-256 over, for each tensor in order, its name, type, shape, and the SHA-256
/// of each 4 MiB of its bytes; preceded by the SHA-256 of the metadata (docs/compress.md gives the exact
/// bytes).
[[nodiscard]] Result<std::string> checkpoint_digest(const Checkpoint& checkpoint, ThreadPool& pool,
                                                    const Progress& progress);

}  // namespace lissom
