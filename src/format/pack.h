#pragma once
// lissom's pack: a safetensors file whose tensors are the components of encoded tensors, and whose metadata
// say which codec made them and all that is needed to run the model. docs/pack.md has the format.

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lissom/codec.h"
#include "lissom/gguf.h"
#include "lissom/result.h"
#include "lissom/tensor.h"

namespace lissom {

/// What this build writes and the newest that it reads.
inline constexpr int kPackVersion = 1;

/// The plain tensors that an encoded tensor is stored as, in the codec's order. Codecs that are a dtype of
/// safetensors keep it and the shape; blocks of GGUF are U8, a row of the matrix in a row.
[[nodiscard]] std::vector<Component> pack_components(const Codec& codec, const Shape& shape);

/// An open pack: tensors under canonical names, whose type is the codec's name and whose bytes count all
/// components. Data of several components is as codec/parts.h lays it out, in memory of its own.
class PackFile : public TensorSource {
 public:
  /// Errors: not safetensors or no pack; a newer version; an unknown codec; a component that is missing, of
  /// another dtype or shape, or used twice; a tensor that belongs to none.
  [[nodiscard]] static Result<std::shared_ptr<PackFile>> open(const std::filesystem::path& path);
  /// A pack that lies in memory and outlives the result; `name` stands for the path in messages.
  [[nodiscard]] static Result<std::shared_ptr<PackFile>> open_memory(std::span<const std::byte> bytes,
                                                                     const std::string& name);
  /// What a GGUF of the same model would carry.
  [[nodiscard]] virtual const GgufMetadata& metadata() const = 0;
  /// The plain tensors that a tensor is stored as.
  [[nodiscard]] virtual std::vector<TensorInfo> stored(size_t index) const = 0;
};

/// Whether a .safetensors file says of itself that it is a pack, of any version. False where it cannot be read.
[[nodiscard]] bool is_pack(const std::filesystem::path& path);

/// Writes a pack a tensor at a time, to a temporary name until finish(). A job that is killed leaves nothing
/// that could be taken for a pack, and begins anew.
class PackWriter {
 public:
  /// tensors: name, codec (`type`) and logical shape of each; `bytes` is not read. Errors: an unknown codec, a
  /// shape that it does not take, metadata that JSON cannot hold.
  [[nodiscard]] static Result<std::unique_ptr<PackWriter>> create(const std::filesystem::path& path,
                                                                  const GgufMetadata& metadata,
                                                                  const std::vector<TensorInfo>& tensors);
  virtual ~PackWriter() = default;
  /// The components of tensor `index`, each once and in any order of tensors.
  [[nodiscard]] virtual Result<void> put(size_t index, std::span<const std::span<const std::byte>> parts) = 0;
  [[nodiscard]] virtual Result<void> finish() = 0;
};

/// Bytes of the file that PackWriter would write.
[[nodiscard]] Result<uint64_t> pack_file_bytes(const GgufMetadata& metadata,
                                               const std::vector<TensorInfo>& tensors);

/// GGUF metadata as one line of JSON, and back: {"key": {"type": "u32", "value": 12}, …}; arrays have types in
/// brackets, "[str]"; numbers that are not finite are the strings "nan", "inf" and "-inf"; text that is not
/// UTF-8 is hexadecimal, of type "hex" or "[hex]". `origin` names the text in errors.
[[nodiscard]] Result<std::string> metadata_to_json(const GgufMetadata& metadata);
[[nodiscard]] Result<GgufMetadata> metadata_from_json(std::string_view json, const std::string& origin);

}  // namespace lissom
