// OLMo 2 (OLMo Team 2024): norms after attention and MLP instead of before, and of the whole q and k.

#include "model/archs/archs.h"
#include "model/fields.h"
#include "model/graph_builder.h"

namespace lissom {
namespace {

Result<Config> from_hf(const Json& json) {
  LISSOM_TRY(Config c, decoder_from_hf(json, "olmo2", {.eps = 1e-5F}));
  LISSOM_TRY(const bool bias, JsonFields(json).boolean_or("attention_bias", false));
  if (bias)
    return unsupported("config.json: field 'attention_bias': true is not supported for olmo2 (GGUF has none)");
  return c;
}

Result<Config> from_gguf(const GgufMetadata& metadata) {
  LISSOM_TRY(Config c, decoder_from_gguf(metadata, "olmo2"));
  if (c.sliding_window > 0)
    return unsupported("key 'olmo2.attention.sliding_window': OLMo 3's windows are not supported");
  return c;
}

Json to_hf(const Config& c) {
  Json json = decoder_to_hf(c);
  json.erase("head_dim");
  json["architectures"] = {"Olmo2ForCausalLM"};
  json["model_type"] = "olmo2";
  json["attention_bias"] = false;
  return json;
}

Result<Graph> build(const Config& c) {
  return build_decoder(c, {.norms = DecoderTraits::Norms::post, .qk_norm = DecoderTraits::QkNorm::row});
}

Result<void> fits_gguf(const Config& c) {
  if (!c.tied_embeddings) return {};
  return unsupported("config.json: field 'tie_word_embeddings': llama.cpp's olmo2 wants an output of its own");
}

}  // namespace

const Architecture& olmo2_architecture() {
  static const Architecture arch{"olmo2",   {"Olmo2ForCausalLM"}, {"olmo2"}, {"model."}, from_hf,
                                 from_gguf, decoder_to_gguf,      to_hf,     build,      {"lm_head"},
                                 fits_gguf};
  return arch;
}

}  // namespace lissom
