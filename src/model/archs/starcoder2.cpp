// StarCoder2 (Lozhkov et al. 2024): layer norms, biases everywhere, an MLP without a gate, a window.
// llama.cpp's starcoder2 has no window; lissom keeps it in starcoder2.attention.sliding_window: past it the two
// differ.

#include "model/archs/archs.h"
#include "model/fields.h"
#include "model/graph_builder.h"

namespace lissom {
namespace {

Result<Config> from_hf(const Json& json) {
  LISSOM_TRY(Config c, decoder_from_hf(json, "starcoder2",
                                       {.eps = 1e-5F, .eps_key = "norm_epsilon", .activation = "gelu_tanh"}));
  const JsonFields f(json);
  LISSOM_TRY(c.tied_embeddings, f.boolean_or("tie_word_embeddings", true));
  LISSOM_TRY(c.sliding_window, f.integer_or("sliding_window", 0, Bounds{0, kContext.high}));
  LISSOM_TRY(c.attention_bias, f.boolean_or("use_bias", true));
  c.mlp_bias = c.attention_bias;
  return c;
}

Result<Config> from_gguf(const GgufMetadata& metadata) {
  LISSOM_TRY(Config c, decoder_from_gguf(metadata, "starcoder2"));
  c.activation = "gelu_tanh";
  return c;
}

void to_gguf(const Config& c, GgufMetadata& metadata) {
  decoder_to_gguf(c, metadata);
  metadata.erase("starcoder2.attention.layer_norm_rms_epsilon");
  metadata.set("starcoder2.attention.layer_norm_epsilon", c.norm_eps);
}

Json to_hf(const Config& c) {
  Json json = decoder_to_hf(c);
  json.erase("head_dim");
  json.erase("rms_norm_eps");
  json["architectures"] = {"Starcoder2ForCausalLM"};
  json["model_type"] = "starcoder2";
  json["norm_epsilon"] = c.norm_eps;
  json["use_bias"] = c.attention_bias;
  json["sliding_window"] = c.sliding_window > 0 ? Json(c.sliding_window) : Json();
  return json;
}

Result<Graph> build(const Config& c) {
  return build_decoder(c, {.layer_norm = true,
                           .qkv_bias = c.attention_bias,
                           .output_bias = c.attention_bias,
                           .mlp_bias = c.mlp_bias,
                           .gated = false});
}

Result<void> fits_gguf(const Config& c) {
  if (c.activation == "gelu_tanh") return {};
  return unsupported("config.json: field 'hidden_act': llama.cpp's starcoder2 has gelu_pytorch_tanh alone");
}

}  // namespace

const Architecture& starcoder2_architecture() {
  static const Architecture arch{"starcoder2",   {"Starcoder2ForCausalLM"},
                                 {"starcoder2"}, {"model."},
                                 from_hf,        from_gguf,
                                 to_gguf,        to_hf,
                                 build,          {"lm_head"},
                                 fits_gguf};
  return arch;
}

}  // namespace lissom
