#pragma once
// An architecture: how config.json and GGUF metadata map to a Config, and a Config to a graph. One per file in
// archs/, listed in registry.cpp.

#include <span>
#include <string_view>
#include <vector>

#include "format/json.h"
#include "lissom/gguf.h"
#include "lissom/model.h"
#include "lissom/result.h"

namespace lissom {

struct Architecture {
  std::string_view name;                           ///< GGUF's general.architecture
  std::vector<std::string_view> hf_architectures;  ///< config.json's architectures[0], any of these
  std::vector<std::string_view>
      hf_model_types;                         ///< config.json's model_type, for configs without architectures
  std::vector<std::string_view> hf_prefixes;  ///< prefixes that tensor names may carry: "model.", "bert."
  Result<Config> (*from_hf)(const Json& config);
  Result<Config> (*from_gguf)(const GgufMetadata& metadata);
  void (*to_gguf)(const Config& config, GgufMetadata& metadata);  ///< the architecture's keys, {arch}.* only
  Json (*to_hf)(const Config& config);                            ///< config.json
  Result<Graph> (*build)(const Config& config);
  /// Tensors that stand outside the prefix, by the start of their names.
  std::vector<std::string_view> hf_outside = {"lm_head"};
  /// Says why this configuration has no exact form in GGUF; null: it always has one.
  Result<void> (*fits_gguf)(const Config& config) = nullptr;
};

/// Tensors that GGUF has for llama3's and longrope's scaling; Hugging Face has parameters in config.json.
inline constexpr std::string_view kRopeFreqs = "rope_freqs.weight", kRopeLong = "rope_factors_long.weight",
                                  kRopeShort = "rope_factors_short.weight";

[[nodiscard]] std::span<const Architecture* const> architectures();
/// The architecture that reads and writes a configuration's Hugging Face side, or null.
[[nodiscard]] const Architecture* architecture_of(const Config& config);
/// By GGUF's general.architecture, or null.
[[nodiscard]] const Architecture* find_architecture(std::string_view gguf_name);
/// By config.json's architectures[0]; by its model_type where that is empty. Null if unknown.
[[nodiscard]] const Architecture* find_hf_architecture(std::string_view hf_name, std::string_view model_type);
/// A whole config.json: finds the architecture and has it read its fields. Errors name the field.
[[nodiscard]] Result<Config> read_hf_config(const Json& json, const Architecture*& arch);
/// The error for a name that neither finds: it names the nearest known one.
[[nodiscard]] Error unknown_architecture(std::string_view name);

}  // namespace lissom
