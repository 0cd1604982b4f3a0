#pragma once
// Hugging Face folders and the local hub cache.

#include <filesystem>
#include <memory>
#include <string>

#include "lissom/result.h"
#include "lissom/tensor.h"

namespace lissom {

enum class ModelKind { hf_folder, gguf };
struct ModelPath {
  ModelKind kind;
  std::filesystem::path path;  ///< the folder, or the (first) .gguf file
};
/// A folder, a .gguf, or `org/name` in the cache (HF_HUB_CACHE, $HF_HOME/hub, ~/.cache/huggingface/hub; the
/// snapshot that refs/main names). A folder that holds a single GGUF resolves to it.
[[nodiscard]] Result<ModelPath> resolve_model(const std::string& model);

/// The folder's weights: model.safetensors or its index. A folder with pytorch_model.bin alone is refused with
/// the way out: pickles run code, so they are never opened.
[[nodiscard]] Result<std::shared_ptr<const TensorSource>> open_hf_weights(const std::filesystem::path& folder);

}  // namespace lissom
