#pragma once
// safetensors: an 8-byte little-endian header length, a JSON header, then the tensors' bytes.

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lissom/result.h"
#include "lissom/tensor.h"

namespace lissom {

/// One file or a sharded set opened through its index. Types are reported as F64, F32, F16, BF16, F8_E4M3, F8_E5M2,
/// I64 … U8, BOOL.
class SafetensorsFile : public TensorSource {
 public:
  /// `path`: a .safetensors file or a model.safetensors.index.json.
  [[nodiscard]] static Result<std::shared_ptr<SafetensorsFile>> open(const std::filesystem::path& path);
  [[nodiscard]] virtual const std::map<std::string, std::string>& metadata() const = 0;
};

/// Streams tensors in the announced order to a temporary name; finish() syncs and renames.
class SafetensorsWriter {
 public:
  [[nodiscard]] static Result<std::unique_ptr<SafetensorsWriter>> create(
      const std::filesystem::path& path, const std::vector<TensorInfo>& directory,
      const std::map<std::string, std::string>& metadata);
  virtual ~SafetensorsWriter() = default;
  [[nodiscard]] virtual Result<void> append(std::span<const std::byte> data) = 0;
  [[nodiscard]] virtual Result<void> finish() = 0;
};

}  // namespace lissom
