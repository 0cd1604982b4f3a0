// GPT-2 (Radford et al. 2019): learned positions, layer norms, fused q|k|v, matrices stored transposed
// (Conv1D).

#include "model/archs/archs.h"
#include "model/fields.h"
#include "model/graph_builder.h"

namespace lissom {
namespace {

Result<Config> from_hf(const Json& json) {
  const JsonFields f(json);
  Config c;
  c.arch = "gpt2";
  LISSOM_TRY(c.vocab, f.integer("vocab_size", kVocab));
  LISSOM_TRY(c.width, f.integer("n_embd", kWidth));
  LISSOM_TRY(c.layers, f.integer("n_layer", kLayers));
  LISSOM_TRY(c.heads, f.integer("n_head", kHeads));
  LISSOM_TRY(c.context, f.integer_or("n_positions", 1024, kContext));
  LISSOM_TRY(c.ff, f.integer_or("n_inner", 4 * c.width, kFeedForward));
  LISSOM_TRY(c.norm_eps, f.positive_or("layer_norm_epsilon", 1e-5));
  LISSOM_TRY(c.activation, activation_of(f, "activation_function", "gelu_new"));
  LISSOM_TRY(c.tied_embeddings, f.boolean_or("tie_word_embeddings", true));
  if (c.width % c.heads != 0) return bad_input("config.json: field 'n_embd' does not divide by 'n_head'");
  LISSOM_TRY(const bool scaled, f.boolean_or("scale_attn_weights", true));
  LISSOM_TRY(const bool by_layer, f.boolean_or("scale_attn_by_inverse_layer_idx", false));
  if (!scaled || by_layer)
    return unsupported(
        "config.json: only scale_attn_weights=true with scale_attn_by_inverse_layer_idx=false is supported for "
        "gpt2");
  c.kv_heads = c.heads;
  c.head_dim = c.width / c.heads;
  c.attention_bias = c.mlp_bias = true;
  return c;
}

Result<Config> from_gguf(const GgufMetadata& metadata) {
  const GgufFields f(metadata, "gpt2");
  Config c;
  c.arch = "gpt2";
  LISSOM_TRY(c.width, f.integer("embedding_length", kWidth));
  LISSOM_TRY(c.layers, f.integer("block_count", kLayers));
  LISSOM_TRY(c.heads, f.integer("attention.head_count", kHeads));
  LISSOM_TRY(c.context, f.integer("context_length", kContext));
  LISSOM_TRY(c.ff, f.integer("feed_forward_length", kFeedForward));
  LISSOM_TRY(c.norm_eps, f.positive("attention.layer_norm_epsilon"));
  if (c.width % c.heads != 0)
    return bad_input("key 'gpt2.embedding_length' does not divide by attention.head_count");
  c.activation = "gelu_tanh";
  c.kv_heads = c.heads;
  c.head_dim = c.width / c.heads;
  c.attention_bias = c.mlp_bias = true;
  return c;
}

void to_gguf(const Config& c, GgufMetadata& metadata) {
  const auto set = [&](const char* key, int64_t v) { metadata.set("gpt2." + std::string(key), uint32_t(v)); };
  set("block_count", c.layers);
  set("context_length", c.context);
  set("embedding_length", c.width);
  set("feed_forward_length", c.ff);
  set("attention.head_count", c.heads);
  metadata.set("gpt2.attention.layer_norm_epsilon", c.norm_eps);
}

Json to_hf(const Config& c) {
  return {{"architectures", {"GPT2LMHeadModel"}},
          {"model_type", "gpt2"},
          {"n_embd", c.width},
          {"n_layer", c.layers},
          {"n_head", c.heads},
          {"n_positions", c.context},
          {"n_ctx", c.context},
          {"n_inner", c.ff},
          {"layer_norm_epsilon", c.norm_eps},
          {"activation_function", c.activation == "gelu_tanh" ? "gelu_new" : c.activation}};
}

Result<Graph> build(const Config& c) {
  // GGUF has no key for it, so what is not GPT-2's own activation could not be written.
  GraphBuilder b(c);
  const auto conv = HfTransform::transpose;
  const ValueId tokens = b.embed(EmbedOp::Index::token, {"token_embd", "wte"}, c.vocab);
  const ValueId positions = b.embed(EmbedOp::Index::position, {"position_embd", "wpe"}, c.context);
  ValueId x = b.add(tokens, positions);
  for (int64_t i = 0; i < c.layers; ++i) {
    b.begin_block();
    const std::string blk = "blk." + std::to_string(i) + ".", hf = "h." + std::to_string(i) + ".";
    const ValueId n = b.layer_norm(x, {blk + "attn_norm", hf + "ln_1"});
    const ValueId qkv =
        b.linear(n, {{blk + "attn_qkv", hf + "attn.c_attn"}, 3 * c.width, true, conv}, blk + "attn_in");
    const ValueId a = b.attention(b.slice(qkv, 0, c.width), b.slice(qkv, c.width, c.width),
                                  b.slice(qkv, 2 * c.width, c.width), i, 0);
    x = b.add(
        x, b.linear(a, {{blk + "attn_output", hf + "attn.c_proj"}, c.width, true, conv}, blk + "attn_out_in"));
    const ValueId m = b.layer_norm(x, {blk + "ffn_norm", hf + "ln_2"});
    const ValueId up = b.linear(m, {{blk + "ffn_up", hf + "mlp.c_fc"}, c.ff, true, conv}, blk + "ffn_in");
    const ValueId act = b.activation(up, c.activation);
    x = b.add(x,
              b.linear(act, {{blk + "ffn_down", hf + "mlp.c_proj"}, c.width, true, conv}, blk + "ffn_down_in"));
  }
  b.begin_block();
  b.graph.hidden = b.layer_norm(x, {"output_norm", "ln_f"});
  b.graph.logits = c.tied_embeddings ? b.linear_tied(b.graph.hidden, 0, "output_in")
                                     : b.linear(b.graph.hidden, {{"output", "lm_head"}, c.vocab}, "output_in");
  return std::move(b.graph);
}

}  // namespace

const Architecture& gpt2_architecture() {
  static const Architecture arch{
      "gpt2", {"GPT2LMHeadModel"}, {"gpt2"}, {"transformer."}, from_hf, from_gguf, to_gguf, to_hf, build};
  return arch;
}

}  // namespace lissom
