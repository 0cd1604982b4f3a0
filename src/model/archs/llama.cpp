// Llama (Touvron et al. 2023; Llama 3's grouped queries and RoPE scaling). GGUF's "llama" stores q and k rows
// permuted for interleaved RoPE.

#include "model/arch.h"
#include "model/archs/archs.h"
#include "model/fields.h"
#include "model/graph_builder.h"

namespace lissom {

Result<Config> llama_from_hf(const Json& json) {
  LISSOM_TRY(Config c, decoder_from_hf(json, "llama", {}));
  const JsonFields f(json);
  LISSOM_TRY(c.attention_bias, f.boolean_or("attention_bias", false));
  LISSOM_TRY(c.mlp_bias, f.boolean_or("mlp_bias", false));
  c.rope.pairing = RopePairing::interleaved;
  return c;
}

Result<Graph> llama_build(const Config& c) {
  return build_decoder(c, {.qkv_bias = c.attention_bias,
                           .output_bias = c.attention_bias,
                           .mlp_bias = c.mlp_bias,
                           .permuted_rope = true,
                           .mlp = c.experts.count > 0 ? mixtral_mlp : nullptr});
}

namespace {

Result<Config> from_gguf(const GgufMetadata& metadata) {
  LISSOM_TRY(Config c, decoder_from_gguf(metadata, "llama"));
  c.rope.pairing = RopePairing::interleaved;
  if (c.sliding_window > 0) c.hf_arch = "MistralForCausalLM";
  const GgufFields f(metadata, "llama");
  if (!f.has("expert_count")) return c;
  LISSOM_CHECK(read_gguf_experts(f, c));
  if (c.experts.count == 0) return c;
  c.hf_arch = "MixtralForCausalLM";
  c.experts.ff = c.ff;
  c.experts.score = Experts::Score::softmax_chosen;
  return c;
}

void to_gguf(const Config& c, GgufMetadata& metadata) {
  decoder_to_gguf(c, metadata);
  if (c.experts.count > 0) write_gguf_experts(c, metadata);
}

Json to_hf(const Config& c) {
  Json json = decoder_to_hf(c);
  json["attention_bias"] = c.attention_bias;
  json["mlp_bias"] = c.mlp_bias;
  // A sliding window is what makes it Mistral to transformers.
  if (c.sliding_window > 0) json["sliding_window"] = c.sliding_window;
  json["architectures"] = {c.sliding_window > 0 ? "MistralForCausalLM" : "LlamaForCausalLM"};
  json["model_type"] = c.sliding_window > 0 ? "mistral" : "llama";
  return json;
}

}  // namespace

const Architecture& llama_architecture() {
  static const Architecture arch{
      "llama", {"LlamaForCausalLM"}, {"llama"}, {"model."}, llama_from_hf, from_gguf, to_gguf,
      to_hf,   llama_build};
  return arch;
}

}  // namespace lissom
