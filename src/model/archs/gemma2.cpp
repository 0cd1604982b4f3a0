// Gemma 2 (Gemma Team 2024): norms before and after attention and MLP, which store w and multiply by 1 + w;
// scaled embeddings; soft caps on scores and logits; a window in every other layer.

#include <cmath>

#include "model/archs/archs.h"
#include "model/fields.h"
#include "model/graph_builder.h"

namespace lissom {
namespace {

/// llama.cpp has no key for the scale of the scores: it takes 1/√head_dim, but in the model of `layers` layers
/// (the 27B) 1/√(width / heads).
float implied_scale(const Config& c, int64_t layers) {
  const int64_t dim = c.layers == layers ? c.width / c.heads : c.head_dim;
  return 1.0F / std::sqrt(static_cast<float>(dim));
}

Result<void> check_scale(const Config& c, int64_t layers) {
  if (std::abs(c.attention_scale / implied_scale(c, layers) - 1.0F) <= 1e-6F) return {};
  return unsupported(
      "config.json: field 'query_pre_attn_scalar': GGUF has no place for it, and llama.cpp takes " +
      std::to_string(std::lround(std::pow(implied_scale(c, layers), -2.0F))) + " for this model");
}

}  // namespace

Result<Config> gemma_from_hf(const Json& json, std::string_view arch, const DecoderFields& spelled) {
  LISSOM_TRY(Config c, decoder_from_hf(json, arch, spelled));
  const JsonFields f(json);
  LISSOM_TRY(c.tied_embeddings, f.boolean_or("tie_word_embeddings", true));
  LISSOM_TRY(const float scalar, f.positive_or("query_pre_attn_scalar", 256.0));
  c.attention_scale = 1.0F / std::sqrt(scalar);
  c.embedding_scale = std::sqrt(static_cast<float>(c.width));
  LISSOM_TRY(c.sliding_window, f.integer_or("sliding_window", 0, Bounds{0, kContext.high}));
  for (const char* key : {"attention_bias", "use_bidirectional_attention"}) {
    LISSOM_TRY(const bool set, f.boolean_or(key, false));
    if (set) return unsupported("config.json: field '" + std::string(key) + "': true is not supported");
  }
  if (f.has("attn_logit_softcapping")) {
    LISSOM_TRY(c.attention_softcap, f.positive_or("attn_logit_softcapping", 50.0));
  }
  if (f.has("final_logit_softcapping")) {
    LISSOM_TRY(c.logit_softcap, f.positive_or("final_logit_softcapping", 30.0));
  }
  return c;
}

Result<Config> gemma_from_gguf(const GgufMetadata& metadata, std::string_view arch, int64_t layers_27b,
                               int64_t period) {
  LISSOM_TRY(Config c, decoder_from_gguf(metadata, arch));
  const GgufFields f(metadata, arch);
  c.activation = "gelu_tanh";
  c.attention_scale = implied_scale(c, layers_27b);
  c.embedding_scale = std::sqrt(static_cast<float>(c.width));
  LISSOM_CHECK(read_gguf_windows(f, period, c));
  if (f.has("attn_logit_softcapping")) {
    LISSOM_TRY(c.attention_softcap, f.positive("attn_logit_softcapping"));
  }
  if (f.has("final_logit_softcapping")) {
    LISSOM_TRY(c.logit_softcap, f.positive("final_logit_softcapping"));
  }
  return c;
}

void gemma_to_gguf(const Config& c, GgufMetadata& metadata, int64_t period) {
  decoder_to_gguf(c, metadata);
  write_gguf_windows(c, period, metadata);
  if (c.attention_softcap > 0) metadata.set(c.arch + ".attn_logit_softcapping", c.attention_softcap);
  if (c.logit_softcap > 0) metadata.set(c.arch + ".final_logit_softcapping", c.logit_softcap);
}

Json gemma_to_hf(const Config& c) {
  Json json = decoder_to_hf(c);
  json.erase("hidden_act");
  json["hidden_activation"] = hf_activation(c);
  json["query_pre_attn_scalar"] = std::lround(std::pow(c.attention_scale, -2.0F));
  json["attn_logit_softcapping"] = c.attention_softcap > 0 ? Json(c.attention_softcap) : Json();
  json["final_logit_softcapping"] = c.logit_softcap > 0 ? Json(c.logit_softcap) : Json();
  json["sliding_window"] = c.sliding_window > 0 ? Json(c.sliding_window) : Json();
  json["layer_types"] = hf_layer_types(c);
  return json;
}

Result<void> gemma_fits_gguf(const Config& c, int64_t layers_27b) {
  if (c.activation != "gelu_tanh")
    return unsupported("config.json: field 'hidden_activation': llama.cpp's " + c.arch +
                       " has gelu_pytorch_tanh alone");
  return check_scale(c, layers_27b);
}

namespace {

constexpr int64_t kPeriod = 2, k27b = 46;

Result<Config> from_hf(const Json& json) {
  LISSOM_TRY(Config c,
             gemma_from_hf(json, "gemma2", {.activation_key = "hidden_activation", .activation = "gelu_tanh"}));
  LISSOM_CHECK(read_layer_types(json, kPeriod, c));
  return c;
}

Result<Config> from_gguf(const GgufMetadata& metadata) {
  return gemma_from_gguf(metadata, "gemma2", k27b, kPeriod);
}

void to_gguf(const Config& c, GgufMetadata& metadata) {
  gemma_to_gguf(c, metadata, kPeriod);
}

Json to_hf(const Config& c) {
  Json json = gemma_to_hf(c);
  json["architectures"] = {"Gemma2ForCausalLM"};
  json["model_type"] = "gemma2";
  return json;
}

Result<Graph> build(const Config& c) {
  return build_decoder(c, {.norms = DecoderTraits::Norms::sandwich, .unit_norms = true});
}

Result<void> fits_gguf(const Config& c) {
  if (c.logit_softcap == 0 || c.attention_softcap == 0 || !c.tied_embeddings || c.sliding_window == 0)
    return unsupported(
        "config.json: llama.cpp's gemma2 always has soft caps, a sliding window and a tied output; this model "
        "has "
        "not");
  return gemma_fits_gguf(c, k27b);
}

}  // namespace

const Architecture& gemma2_architecture() {
  static const Architecture arch{
      "gemma2", {"Gemma2ForCausalLM"}, {"gemma2"}, {"model."}, from_hf, from_gguf, to_gguf, to_hf,
      build,    {"lm_head"},           fits_gguf};
  return arch;
}

}  // namespace lissom
