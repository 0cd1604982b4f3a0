#pragma once
// Writes the weights of a Hugging Face folder: one model.safetensors, or shards and their index.

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lissom/result.h"
#include "lissom/tensor.h"

namespace lissom {

class HfWeightsWriter {
 public:
  /// A shard takes tensors in the directory's order until it would grow past shard_bytes; a file has them in
  /// the reference library's order, in which each lies aligned. A shard's file is open while some of its
  /// tensors are there and others are not.
  [[nodiscard]] static Result<std::unique_ptr<HfWeightsWriter>> create(
      const std::filesystem::path& folder, const std::vector<TensorInfo>& directory,
      const std::map<std::string, std::string>& metadata, uint64_t shard_bytes);
  virtual ~HfWeightsWriter() = default;
  /// The next tensor of the directory.
  [[nodiscard]] virtual Result<void> append(std::span<const std::byte> data) = 0;
  /// Writes the index, where there are several files.
  [[nodiscard]] virtual Result<void> finish() = 0;
};

/// Has `fill` write into a temporary folder beside `out`, which becomes `out` when it is whole, and goes when
/// an error says that it is not. Refuses an `out` with files in it.
[[nodiscard]] Result<void> write_whole_folder(
    const std::filesystem::path& out,
    const std::function<Result<void>(const std::filesystem::path& folder)>& fill);

}  // namespace lissom
