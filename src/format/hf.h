#pragma once
// Hugging Face folders.

#include <filesystem>
#include <memory>
#include <string>

#include "lissom/result.h"
#include "lissom/tensor.h"

namespace lissom {

enum class ModelKind { hf_folder, gguf, pack };
struct ModelPath {
  ModelKind kind;
  std::filesystem::path path;  ///< the folder, the (first) .gguf file, or the pack
};
/// A local folder, .gguf or pack (hub/hub.h finds org/name). A folder that holds a single GGUF resolves to it.
[[nodiscard]] Result<ModelPath> resolve_model(const std::string& model);

/// The folder's weights: model.safetensors or its index. A folder with pytorch_model.bin alone is refused with
/// the way out: pickles run code, so they are never opened.
[[nodiscard]] Result<std::shared_ptr<const TensorSource>> open_hf_weights(const std::filesystem::path& folder);

}  // namespace lissom
