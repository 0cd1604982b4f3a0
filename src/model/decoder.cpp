// The decoders of the llama family: what llama, mistral, qwen2 and qwen3 share.

#include "model/arch.h"
#include "model/fields.h"
#include "model/graph_builder.h"

namespace lissom {

Graph build_decoder(const Config& config, const DecoderTraits& traits) {
  GraphBuilder b(config);
  const HfTransform rotary = traits.permuted_rope ? HfTransform::permute_rope : HfTransform::none;
  const int64_t q_width = config.heads * config.head_dim, kv_width = config.kv_heads * config.head_dim;

  ValueId x = b.embed(EmbedOp::Index::token, {"token_embd", "embed_tokens"}, config.vocab);
  const WeightId table = 0;
  for (int64_t i = 0; i < config.layers; ++i) {
    b.begin_block();
    const std::string blk = "blk." + std::to_string(i) + ".";
    const std::string hf = "layers." + std::to_string(i) + ".";
    const std::string attn_in = blk + "attn_in", ffn_in = blk + "ffn_in";

    const ValueId n = b.rms_norm(x, {blk + "attn_norm", hf + "input_layernorm"});
    ValueId q =
        b.linear(n, {{blk + "attn_q", hf + "self_attn.q_proj"}, q_width, traits.qkv_bias, rotary, config.heads},
                 attn_in);
    ValueId k = b.linear(
        n, {{blk + "attn_k", hf + "self_attn.k_proj"}, kv_width, traits.qkv_bias, rotary, config.kv_heads},
        attn_in);
    const ValueId v =
        b.linear(n, {{blk + "attn_v", hf + "self_attn.v_proj"}, kv_width, traits.qkv_bias}, attn_in);
    if (traits.qk_norm) {
      q = b.rms_norm(q, {blk + "attn_q_norm", hf + "self_attn.q_norm"}, config.head_dim);
      k = b.rms_norm(k, {blk + "attn_k_norm", hf + "self_attn.k_norm"}, config.head_dim);
    }
    q = b.rope(q, config.heads);
    k = b.rope(k, config.kv_heads);
    const ValueId a = b.attention(q, k, v, i, config.sliding_window);
    const ValueId o =
        b.linear(a, {{blk + "attn_output", hf + "self_attn.o_proj"}, config.width, traits.output_bias},
                 blk + "attn_out_in");
    x = b.add(x, o);

    const ValueId m = b.rms_norm(x, {blk + "ffn_norm", hf + "post_attention_layernorm"});
    const ValueId gate =
        b.linear(m, {{blk + "ffn_gate", hf + "mlp.gate_proj"}, config.ff, traits.mlp_bias}, ffn_in);
    const ValueId up = b.linear(m, {{blk + "ffn_up", hf + "mlp.up_proj"}, config.ff, traits.mlp_bias}, ffn_in);
    const ValueId act = b.mul(b.activation(gate, config.activation), up);
    const ValueId down = b.linear(
        act, {{blk + "ffn_down", hf + "mlp.down_proj"}, config.width, traits.mlp_bias}, blk + "ffn_down_in");
    x = b.add(x, down);
  }
  b.begin_block();
  b.graph.hidden = b.rms_norm(x, {"output_norm", "norm"});
  b.graph.logits = config.tied_embeddings
                       ? b.linear_tied(b.graph.hidden, table, "output_in")
                       : b.linear(b.graph.hidden, {{"output", "lm_head"}, config.vocab}, "output_in");
  if (traits.permuted_rope) {
    Weight freqs{std::string(kRopeFreqs), {config.rope.dim / 2}, WeightRole::constant, {}};
    freqs.optional = true;
    b.weight(std::move(freqs));
  }
  return std::move(b.graph);
}

Result<Config> decoder_from_hf(const Json& json, std::string_view arch, float default_eps) {
  const JsonFields f(json);
  Config c;
  c.arch = arch;
  LISSOM_TRY(c.vocab, f.integer("vocab_size", kVocab));
  LISSOM_TRY(c.width, f.integer("hidden_size", kWidth));
  LISSOM_TRY(c.layers, f.integer("num_hidden_layers", kLayers));
  LISSOM_TRY(c.heads, f.integer("num_attention_heads", kHeads));
  LISSOM_TRY(c.kv_heads, f.integer_or("num_key_value_heads", c.heads, kHeads));
  LISSOM_TRY(c.ff, f.integer("intermediate_size", kFeedForward));
  LISSOM_TRY(c.context, f.integer_or("max_position_embeddings", 2048, kContext));
  if (!f.has("head_dim") && c.width % c.heads != 0)
    return bad_input("config.json: field 'hidden_size' (" + std::to_string(c.width) +
                     ") does not divide by 'num_attention_heads' (" + std::to_string(c.heads) + ")");
  LISSOM_TRY(c.head_dim, f.integer_or("head_dim", c.width / c.heads, Bounds{2, 4096}));
  if (c.head_dim % 2 != 0) return bad_input("config.json: field 'head_dim' must be even for RoPE");
  if (c.heads % c.kv_heads != 0)
    return bad_input("config.json: field 'num_attention_heads' (" + std::to_string(c.heads) +
                     ") does not divide by 'num_key_value_heads' (" + std::to_string(c.kv_heads) + ")");
  LISSOM_TRY(c.norm_eps, f.positive_or("rms_norm_eps", default_eps));
  LISSOM_TRY(c.activation, activation_of(f, "hidden_act", "silu"));
  LISSOM_TRY(c.tied_embeddings, f.boolean_or("tie_word_embeddings", false));
  LISSOM_CHECK(read_hf_rope(f, 10000.0F, c));
  return c;
}

Result<Config> decoder_from_gguf(const GgufMetadata& metadata, std::string_view arch) {
  const GgufFields f(metadata, arch);
  Config c;
  c.arch = arch;
  LISSOM_TRY(c.width, f.integer("embedding_length", kWidth));
  LISSOM_TRY(c.layers, f.integer("block_count", kLayers));
  LISSOM_TRY(c.heads, f.integer("attention.head_count", kHeads));
  LISSOM_TRY(c.kv_heads, f.integer_or("attention.head_count_kv", c.heads, kHeads));
  LISSOM_TRY(c.ff, f.integer("feed_forward_length", kFeedForward));
  LISSOM_TRY(c.context, f.integer("context_length", kContext));
  if (f.has("attention.key_length")) {
    LISSOM_TRY(c.head_dim, f.integer("attention.key_length", Bounds{2, 4096}));
    LISSOM_TRY(const int64_t value_dim, f.integer_or("attention.value_length", c.head_dim, Bounds{2, 4096}));
    if (value_dim != c.head_dim)
      return unsupported("key '" + c.arch +
                         ".attention.value_length' differs from key_length, which is not supported");
  } else {
    if (c.width % c.heads != 0)
      return bad_input("key '" + c.arch + ".embedding_length' does not divide by attention.head_count");
    c.head_dim = c.width / c.heads;
  }
  if (c.head_dim % 2 != 0 || c.head_dim < 2)
    return bad_input("key '" + c.arch + ".attention.key_length' must be even");
  if (c.heads % c.kv_heads != 0)
    return bad_input("key '" + c.arch + ".attention.head_count' does not divide by head_count_kv");
  LISSOM_TRY(c.norm_eps, f.positive("attention.layer_norm_rms_epsilon"));
  LISSOM_TRY(c.sliding_window, f.integer_or("attention.sliding_window", 0, Bounds{0, kContext.high}));
  LISSOM_CHECK(read_gguf_rope(f, c));
  if (f.has("vocab_size")) {
    LISSOM_TRY(c.vocab, f.integer("vocab_size", kVocab));
  }
  return c;
}

void decoder_to_gguf(const Config& c, GgufMetadata& metadata) {
  const auto set = [&](const char* key, int64_t value) {
    metadata.set(c.arch + "." + key, static_cast<uint32_t>(value));
  };
  set("block_count", c.layers);
  set("context_length", c.context);
  set("embedding_length", c.width);
  set("feed_forward_length", c.ff);
  set("attention.head_count", c.heads);
  set("attention.head_count_kv", c.kv_heads);
  set("attention.key_length", c.head_dim);
  set("attention.value_length", c.head_dim);
  metadata.set(c.arch + ".attention.layer_norm_rms_epsilon", c.norm_eps);
  if (c.sliding_window > 0) set("attention.sliding_window", c.sliding_window);
  set("vocab_size", c.vocab);
  write_gguf_rope(c, metadata);
}

Json decoder_to_hf(const Config& c) {
  return {{"hidden_size", c.width},
          {"num_hidden_layers", c.layers},
          {"num_attention_heads", c.heads},
          {"num_key_value_heads", c.kv_heads},
          {"head_dim", c.head_dim},
          {"intermediate_size", c.ff},
          {"max_position_embeddings", c.context},
          {"rms_norm_eps", c.norm_eps},
          {"hidden_act", c.activation == "gelu_tanh" ? "gelu_pytorch_tanh" : c.activation},
          {"rope_parameters", hf_rope(c)},
          {"rope_theta", c.rope.base}};
}

}  // namespace lissom
