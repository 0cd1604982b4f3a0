#pragma once
// Checked reads of config.json and of GGUF's architecture keys. Every number has bounds, so that nothing
// downstream allocates or divides by what a file merely claims.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "format/json.h"
#include "lissom/gguf.h"
#include "lissom/model.h"
#include "lissom/result.h"

namespace lissom {

/// Bounds that no real model exceeds.
struct Bounds {
  int64_t low, high;
};
inline constexpr Bounds kWidth{1, 1 << 20}, kLayers{1, 4096}, kHeads{1, 1 << 16}, kVocab{1, 1 << 26},
    kContext{1, int64_t{1} << 31}, kFeedForward{1, 1 << 24}, kExperts{1, 1 << 14};

/// config.json's fields. Errors read "config.json: field 'x': …".
class JsonFields {
 public:
  explicit JsonFields(const Json& config) : config_(config) {}
  [[nodiscard]] bool has(std::string_view key) const;  ///< present and not null
  [[nodiscard]] Result<int64_t> integer(std::string_view key, Bounds bounds) const;
  [[nodiscard]] Result<int64_t> integer_or(std::string_view key, int64_t fallback, Bounds bounds) const;
  [[nodiscard]] Result<float> positive_or(std::string_view key, double fallback) const;  ///< finite and > 0
  [[nodiscard]] Result<bool> boolean_or(std::string_view key, bool fallback) const;
  [[nodiscard]] Result<std::string> string_or(std::string_view key, std::string fallback) const;
  [[nodiscard]] const Json& json() const { return config_; }

 private:
  const Json& config_;
};

/// GGUF's keys under an architecture's prefix: integer("block_count", kLayers) reads "llama.block_count".
class GgufFields {
 public:
  GgufFields(const GgufMetadata& metadata, std::string_view arch) : metadata_(metadata), prefix_(arch) {}
  [[nodiscard]] bool has(std::string_view key) const;
  [[nodiscard]] Result<int64_t> integer(std::string_view key, Bounds bounds) const;
  [[nodiscard]] Result<int64_t> integer_or(std::string_view key, int64_t fallback, Bounds bounds) const;
  [[nodiscard]] Result<float> positive(std::string_view key) const;
  [[nodiscard]] Result<bool> boolean_or(std::string_view key, bool fallback) const;
  [[nodiscard]] Result<float> positive_or(std::string_view key, double fallback) const;
  [[nodiscard]] std::string string_or(std::string_view key, std::string fallback) const;
  [[nodiscard]] const GgufMetadata& metadata() const { return metadata_; }

 private:
  [[nodiscard]] std::string full(std::string_view key) const;
  const GgufMetadata& metadata_;
  std::string prefix_;
};

/// The fields that every architecture of Hugging Face's has: eos/bos/pad ids (eos: a number or a list), labels.
[[nodiscard]] Result<void> read_common_hf(const JsonFields& fields, Config& config);
/// An activation's name in config.json → Config::activation; an error names those that are known.
[[nodiscard]] Result<std::string> activation_of(const JsonFields& fields, std::string_view key,
                                                std::string_view fallback);

/// Config::activation as transformers names it.
[[nodiscard]] std::string hf_activation(const Config& config);

/// RoPE from `rope_parameters` (transformers 5) or `rope_theta` + `rope_scaling` (before). config.context is
/// set. default_partial: the family's own partial_rotary_factor; 0: it has none, and another than 1 is refused.
[[nodiscard]] Result<void> read_hf_rope(const JsonFields& fields, float default_theta, Config& config,
                                        float default_partial = 0);
/// One set of RoPE parameters, as they stand in `rope_parameters` or beside `rope_theta`.
[[nodiscard]] Result<Rope> read_hf_rope_object(const JsonFields& outer, const Json& parameters,
                                               float default_theta, const Config& config,
                                               float default_partial = 0);
[[nodiscard]] Result<void> read_gguf_rope(const GgufFields& fields, Config& config);
void write_gguf_rope(const Config& config, GgufMetadata& metadata);
[[nodiscard]] Json hf_rope(const Rope& rope, bool partial, int64_t head_dim);
[[nodiscard]] Json hf_rope(const Config& config);
/// GGUF's keys of a mixture of experts, those that are there; and the counts alone, which every family has.
[[nodiscard]] Result<void> read_gguf_experts(const GgufFields& fields, Config& config);
void write_gguf_experts(const Config& config, GgufMetadata& metadata);
/// The tensors that GGUF has in place of parameters: of what this name is, or empty.
[[nodiscard]] std::vector<float> rope_constant(std::string_view name, const Rope& rope);
/// The per-pair divisors that GGUF stores as rope_freqs.weight for llama3 scaling (dim / 2 values).
[[nodiscard]] std::vector<float> llama3_divisors(const Rope& rope);

}  // namespace lissom
