#pragma once
// safetensors: an 8-byte little-endian header length, a JSON header, then the tensors' bytes.

#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lissom/result.h"
#include "lissom/tensor.h"

namespace lissom {

/// Bits per element of a safetensors dtype ("F32" → 32), or 0 for a name that the format does not know.
[[nodiscard]] int safetensors_bits(std::string_view dtype);

/// One file or a sharded set opened through its index. Types are the format's own names: F64, F32, F16, BF16,
/// F8_E4M3, F8_E5M2, I64 … U8, BOOL, and the rarer ones of safetensors_bits().
class SafetensorsFile : public TensorSource {
 public:
  /// `path`: a .safetensors file or a model.safetensors.index.json.
  [[nodiscard]] static Result<std::shared_ptr<SafetensorsFile>> open(const std::filesystem::path& path);
  /// One file that lies in memory and outlives the result; `name` stands for the path in messages.
  [[nodiscard]] static Result<std::shared_ptr<SafetensorsFile>> open_memory(std::span<const std::byte> bytes,
                                                                            const std::string& name);
  /// Of a sharded set, the first shard's.
  [[nodiscard]] virtual const std::map<std::string, std::string>& metadata() const = 0;
  [[nodiscard]] virtual std::vector<std::filesystem::path> files() const = 0;
};

/// Puts tensors in the order in which the reference library writes them: wide types first, so that each lies
/// aligned, then by name. Any order is valid.
void sort_for_safetensors(std::vector<TensorInfo>& directory);

/// Bytes of the file that a writer of these would write.
[[nodiscard]] Result<uint64_t> safetensors_file_bytes(const std::vector<TensorInfo>& directory,
                                                      const std::map<std::string, std::string>& metadata);

/// Streams tensors in the announced order to a temporary name; finish() syncs and renames. `bytes` in the
/// directory may be 0: type and shape decide.
class SafetensorsWriter {
 public:
  [[nodiscard]] static Result<std::unique_ptr<SafetensorsWriter>> create(
      const std::filesystem::path& path, const std::vector<TensorInfo>& directory,
      const std::map<std::string, std::string>& metadata);
  virtual ~SafetensorsWriter() = default;
  [[nodiscard]] virtual Result<void> append(std::span<const std::byte> data) = 0;
  /// All bytes of tensor `index` of the directory, each once and in any order; instead of append().
  [[nodiscard]] virtual Result<void> put(size_t index, std::span<const std::byte> data) = 0;
  [[nodiscard]] virtual Result<void> finish() = 0;
};

}  // namespace lissom
