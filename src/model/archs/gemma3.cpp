// Gemma 3's text model (Gemma Team 2025): Gemma 2 with norms of q and k in place of the scores' cap, five
// layers with a window to each without, and a RoPE base of their own for those with it.

#include <cmath>

#include "model/archs/archs.h"
#include "model/fields.h"
#include "model/graph_builder.h"

namespace lissom {
namespace {

constexpr int64_t kPeriod = 6, k27b = 62;
constexpr float kLocalBase = 10000.0F;

/// transformers 5 nests two sets of parameters; before, rope_theta and rope_scaling were the global ones.
Result<void> read_ropes(const Json& json, Config& c) {
  const JsonFields f(json);
  LISSOM_TRY(const float local_base, f.positive_or("rope_local_base_freq", kLocalBase));
  const Json nothing = Json::object();
  const JsonFields none(nothing);
  Json global = Json::object(), local = Json::object();
  if (f.has("rope_parameters") && json["rope_parameters"].is_object()) {
    const JsonFields nested(json["rope_parameters"]);
    if (nested.has("full_attention")) global = json["rope_parameters"]["full_attention"];
    if (nested.has("sliding_attention")) local = json["rope_parameters"]["sliding_attention"];
  } else if (f.has("rope_scaling")) {
    global = json["rope_scaling"];
  }
  LISSOM_TRY(c.rope, read_hf_rope_object(f, global, 1e6F, c));
  LISSOM_TRY(c.rope_local, read_hf_rope_object(none, local, local_base, c));
  if (c.rope_local->scaling != RopeScaling::none)
    return unsupported("config.json: field 'rope_parameters': a scaling of the layers with a window");
  return {};
}

Result<Config> from_hf(const Json& json) {
  Json flat = json;  // the two sets of RoPE parameters are read here
  flat.erase("rope_parameters");
  flat.erase("rope_scaling");
  LISSOM_TRY(Config c,
             gemma_from_hf(flat, "gemma3", {.activation_key = "hidden_activation", .activation = "gelu_tanh"}));
  LISSOM_CHECK(read_ropes(json, c));
  LISSOM_TRY(const int64_t period, JsonFields(json).integer_or("sliding_window_pattern", kPeriod, kLayers));
  LISSOM_CHECK(read_layer_types(json, period, c));
  return c;
}

Result<Config> from_gguf(const GgufMetadata& metadata) {
  LISSOM_TRY(Config c, gemma_from_gguf(metadata, "gemma3", k27b, kPeriod));
  c.rope_local.emplace();
  c.rope_local->dim = c.rope.dim;
  LISSOM_TRY(c.rope_local->base, GgufFields(metadata, "gemma3").positive_or("rope.freq_base_swa", kLocalBase));
  return c;
}

void to_gguf(const Config& c, GgufMetadata& metadata) {
  gemma_to_gguf(c, metadata, kPeriod);
  metadata.set("gemma3.rope.freq_base_swa", c.rope_local->base);
}

Json to_hf(const Config& c) {
  Json json = gemma_to_hf(c);
  json.erase("attn_logit_softcapping");
  json.erase("rope_theta");
  json["rope_parameters"] = {{"full_attention", hf_rope(c)},
                             {"sliding_attention", hf_rope(*c.rope_local, false, c.head_dim)}};
  json["architectures"] = {"Gemma3ForCausalLM"};
  json["model_type"] = "gemma3_text";
  return json;
}

Result<Graph> build(const Config& c) {
  return build_decoder(
      c,
      {.norms = DecoderTraits::Norms::sandwich, .unit_norms = true, .qk_norm = DecoderTraits::QkNorm::heads});
}

Result<void> fits_gguf(const Config& c) {
  if (c.attention_softcap > 0)
    return unsupported("config.json: field 'attn_logit_softcapping': llama.cpp's gemma3 has none");
  return gemma_fits_gguf(c, k27b);
}

}  // namespace

const Architecture& gemma3_architecture() {
  static const Architecture arch{
      "gemma3", {"Gemma3ForCausalLM"}, {"gemma3_text"}, {"model."}, from_hf, from_gguf, to_gguf, to_hf,
      build,    {"lm_head"},           fits_gguf};
  return arch;
}

}  // namespace lissom
