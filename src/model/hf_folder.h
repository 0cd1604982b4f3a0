#pragma once
// What a Hugging Face folder has beside its weights, when one is written.

#include <filesystem>
#include <string>

#include "format/json.h"
#include "lissom/model.h"
#include "lissom/result.h"
#include "model/arch.h"

namespace lissom {

/// Names of tensors and modules in a folder that is written.
class HfNames {
 public:
  [[nodiscard]] static Result<HfNames> of_checkpoint(const Checkpoint& checkpoint);
  /// With the architecture's prefix, where it has one there: "model.layers.0.…", "lm_head.weight".
  [[nodiscard]] std::string of(const std::string& name) const;

 private:
  const Architecture* arch_ = nullptr;
  bool bare_ = false;
};

/// config.json, generation_config.json, tokenizer and pooling, made from the checkpoint's configuration. type:
/// of the weights; quantization: config.json's quantization_config, or null.
[[nodiscard]] Result<void> write_hf_configs(const Checkpoint& checkpoint, const std::filesystem::path& folder,
                                            const std::string& type, const Json& quantization = nullptr);

/// The same for a checkpoint that is such a folder: its config.json with these two changed, tokenizer,
/// generation_config.json and licence byte for byte. Of a GGUF as above.
[[nodiscard]] Result<void> carry_hf_configs(const Checkpoint& checkpoint, const std::filesystem::path& folder,
                                            const std::string& type, const Json& quantization);

}  // namespace lissom
