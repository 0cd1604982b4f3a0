// GPT-NeoX (Black et al. 2022) and Pythia: attention and MLP side by side, partial rotary, biases everywhere,
// q|k|v interleaved by head in Hugging Face's layout.

#include "model/archs/archs.h"
#include "model/fields.h"
#include "model/graph_builder.h"

namespace lissom {
namespace {

Result<Config> from_hf(const Json& json) {
  const JsonFields f(json);
  // Older configurations spell RoPE's base and share in their own way.
  LISSOM_TRY(const float base, f.positive_or("rotary_emb_base", 10000.0));
  LISSOM_TRY(const float share, f.positive_or("rotary_pct", 0.25));
  LISSOM_TRY(Config c, decoder_from_hf(json, "gptneox",
                                       {.eps = 1e-5F,
                                        .eps_key = "layer_norm_eps",
                                        .activation = "gelu",
                                        .rope_theta = base,
                                        .partial_rotary = share}));
  if (c.kv_heads != c.heads || c.heads * c.head_dim != c.width)
    return bad_input("config.json: field 'hidden_size' does not divide by 'num_attention_heads'");
  LISSOM_TRY(c.parallel_residual, f.boolean_or("use_parallel_residual", true));
  LISSOM_TRY(c.attention_bias, f.boolean_or("attention_bias", true));
  c.mlp_bias = true;
  return c;
}

Result<Config> from_gguf(const GgufMetadata& metadata) {
  LISSOM_TRY(Config c, decoder_from_gguf(metadata, "gptneox"));
  LISSOM_TRY(c.parallel_residual, GgufFields(metadata, "gptneox").boolean_or("use_parallel_residual", true));
  c.activation = "gelu";
  c.attention_bias = c.mlp_bias = true;
  return c;
}

void to_gguf(const Config& c, GgufMetadata& metadata) {
  decoder_to_gguf(c, metadata);
  metadata.erase("gptneox.attention.layer_norm_rms_epsilon");
  metadata.set("gptneox.attention.layer_norm_epsilon", c.norm_eps);
  metadata.set("gptneox.use_parallel_residual", c.parallel_residual);
}

Json to_hf(const Config& c) {
  Json json = decoder_to_hf(c);
  for (const char* key : {"head_dim", "rms_norm_eps", "num_key_value_heads"}) json.erase(key);
  json["architectures"] = {"GPTNeoXForCausalLM"};
  json["model_type"] = "gpt_neox";
  json["layer_norm_eps"] = c.norm_eps;
  json["use_parallel_residual"] = c.parallel_residual;
  json["attention_bias"] = c.attention_bias;
  json["rope_parameters"] = hf_rope(c.rope, true, c.head_dim);
  // transformers before 5
  json["rotary_emb_base"] = c.rope.base;
  json["rotary_pct"] = json["rope_parameters"]["partial_rotary_factor"];
  return json;
}

ValueId build_block(GraphBuilder& b, const Config& c, int64_t i, ValueId x) {
  const std::string blk = "blk." + std::to_string(i) + ".", hf = "layers." + std::to_string(i) + ".";
  const ValueId n = b.layer_norm(x, {blk + "attn_norm", hf + "input_layernorm"});
  const ValueId qkv = b.linear(n,
                               {{blk + "attn_qkv", hf + "attention.query_key_value"},
                                3 * c.width,
                                c.attention_bias,
                                HfTransform::heads_qkv,
                                c.heads},
                               blk + "attn_in");
  const ValueId q = b.rope(b.slice(qkv, 0, c.width), c.heads);
  const ValueId k = b.rope(b.slice(qkv, c.width, c.width), c.heads);
  const ValueId a = b.attention(q, k, b.slice(qkv, 2 * c.width, c.width), i, 0);
  const ValueId o = b.linear(a, {{blk + "attn_output", hf + "attention.dense"}, c.width, c.attention_bias},
                             blk + "attn_out_in");
  const ValueId sum = b.add(x, o);
  const ValueId m =
      b.layer_norm(c.parallel_residual ? x : sum, {blk + "ffn_norm", hf + "post_attention_layernorm"});
  const ValueId up = b.linear(m, {{blk + "ffn_up", hf + "mlp.dense_h_to_4h"}, c.ff, true}, blk + "ffn_in");
  const ValueId down =
      b.linear(b.activation(up, c.activation), {{blk + "ffn_down", hf + "mlp.dense_4h_to_h"}, c.width, true},
               blk + "ffn_down_in");
  return b.add(sum, down);
}

Result<Graph> build(const Config& c) {
  GraphBuilder b(c);
  ValueId x = b.embed(EmbedOp::Index::token, {"token_embd", "embed_in"}, c.vocab);
  for (int64_t i = 0; i < c.layers; ++i) {
    b.begin_block();
    x = build_block(b, c, i, x);
  }
  b.begin_block();
  b.graph.hidden = b.layer_norm(x, {"output_norm", "final_layer_norm"});
  b.graph.logits = c.tied_embeddings
                       ? b.linear_tied(b.graph.hidden, 0, "output_in")
                       : b.linear(b.graph.hidden, {{"output", "embed_out"}, c.vocab}, "output_in");
  return std::move(b.graph);
}

Result<void> fits_gguf(const Config& c) {
  if (!c.attention_bias)
    return unsupported("config.json: field 'attention_bias': llama.cpp's gptneox always has biases");
  if (c.tied_embeddings)
    return unsupported(
        "config.json: field 'tie_word_embeddings': llama.cpp's gptneox wants an output of its own");
  if (c.activation != "gelu" && c.activation != "gelu_tanh")
    return unsupported("config.json: field 'hidden_act': llama.cpp's gptneox has gelu alone");
  return {};
}

}  // namespace

const Architecture& gpt_neox_architecture() {
  static const Architecture arch{
      "gptneox", {"GPTNeoXForCausalLM"}, {"gpt_neox"}, {"gpt_neox."}, from_hf, from_gguf, to_gguf, to_hf,
      build,     {"embed_out"},          fits_gguf};
  return arch;
}

}  // namespace lissom
