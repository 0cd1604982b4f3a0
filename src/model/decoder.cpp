// The decoders of the llama family: what their files in archs/ share.

#include "model/arch.h"
#include "model/fields.h"
#include "model/graph_builder.h"

namespace lissom {
namespace {

struct Decoder {
  GraphBuilder& b;
  const Config& c;
  const DecoderTraits& t;

  [[nodiscard]] ValueId norm(ValueId x, const Names& names) const {
    return t.layer_norm ? b.layer_norm(x, names) : b.rms_norm(x, names);
  }
  [[nodiscard]] bool before() const { return t.norms != DecoderTraits::Norms::post; }
  [[nodiscard]] bool after() const { return t.norms != DecoderTraits::Norms::pre; }

  struct Qkv {
    ValueId q, k, v;
  };
  [[nodiscard]] Qkv project(ValueId n, const std::string& blk, const std::string& hf) const;
  [[nodiscard]] ValueId attention(ValueId x, int64_t layer, const std::string& blk,
                                  const std::string& hf) const;
  [[nodiscard]] ValueId mlp(ValueId x, int64_t layer, const std::string& blk, const std::string& hf) const;
  [[nodiscard]] ValueId block(ValueId x, int64_t layer) const;
};

Decoder::Qkv Decoder::project(ValueId n, const std::string& blk, const std::string& hf) const {
  const int64_t q_width = c.heads * c.head_dim, kv_width = c.kv_heads * c.head_dim;
  const std::string label = blk + "attn_in";
  if (t.fused) {
    const ValueId all =
        b.linear(n, {{blk + "attn_qkv", hf + "self_attn.qkv_proj"}, q_width + 2 * kv_width, t.qkv_bias}, label);
    return {b.slice(all, 0, q_width), b.slice(all, q_width, kv_width),
            b.slice(all, q_width + kv_width, kv_width)};
  }
  const HfTransform rotary = t.permuted_rope ? HfTransform::permute_rope : HfTransform::none;
  const auto linear = [&](const char* name, const char* hf_name, int64_t out, HfTransform transform,
                          int64_t heads) {
    return b.linear(n, {{blk + name, hf + hf_name}, out, t.qkv_bias, transform, heads}, label);
  };
  const ValueId q = linear("attn_q", "self_attn.q_proj", q_width, rotary, c.heads);
  const ValueId k = linear("attn_k", "self_attn.k_proj", kv_width, rotary, c.kv_heads);
  return {q, k, linear("attn_v", "self_attn.v_proj", kv_width, HfTransform::none, 0)};
}

ValueId Decoder::attention(ValueId x, int64_t layer, const std::string& blk, const std::string& hf) const {
  Qkv p = project(x, blk, hf);
  if (t.qk_norm != DecoderTraits::QkNorm::none) {
    const int64_t group = t.qk_norm == DecoderTraits::QkNorm::heads ? c.head_dim : 0;
    p.q = b.rms_norm(p.q, {blk + "attn_q_norm", hf + "self_attn.q_norm"}, group);
    p.k = b.rms_norm(p.k, {blk + "attn_k_norm", hf + "self_attn.k_norm"}, group);
  }
  const bool windowed = c.is_windowed(layer), local = windowed && c.rope_local.has_value();
  p.q = b.rope(p.q, c.heads, local);
  p.k = b.rope(p.k, c.kv_heads, local);
  const ValueId a = b.attention(p.q, p.k, p.v, layer, windowed ? c.sliding_window : 0);
  return b.linear(a, {{blk + "attn_output", hf + "self_attn.o_proj"}, c.width, t.output_bias},
                  blk + "attn_out_in");
}

ValueId Decoder::mlp(ValueId x, int64_t layer, const std::string& blk, const std::string& hf) const {
  if (t.mlp != nullptr) return t.mlp(b, c, layer, x);
  const std::string in = blk + "ffn_in", down_in = blk + "ffn_down_in";
  if (!t.gated) {
    const ValueId up = b.linear(x, {{blk + "ffn_up", hf + "mlp.c_fc"}, c.ff, t.mlp_bias}, in);
    return b.linear(b.activation(up, c.activation),
                    {{blk + "ffn_down", hf + "mlp.c_proj"}, c.width, t.mlp_bias}, down_in);
  }
  if (t.fused) {
    const ValueId both = b.linear(x, {{blk + "ffn_up", hf + "mlp.gate_up_proj"}, 2 * c.ff, t.mlp_bias}, in);
    const ValueId act = b.mul(b.activation(b.slice(both, 0, c.ff), c.activation), b.slice(both, c.ff, c.ff));
    return b.linear(act, {{blk + "ffn_down", hf + "mlp.down_proj"}, c.width, t.mlp_bias}, down_in);
  }
  return gated_mlp(b, c, x, blk, "", hf + "mlp.", c.ff, t.mlp_bias);
}

ValueId Decoder::block(ValueId x, int64_t layer) const {
  const std::string blk = "blk." + std::to_string(layer) + ".", hf = "layers." + std::to_string(layer) + ".";
  const bool both = before() && after();
  ValueId n = before() ? norm(x, {blk + "attn_norm", hf + "input_layernorm"}) : x;
  ValueId o = attention(n, layer, blk, hf);
  if (after()) o = norm(o, {blk + "post_attention_norm", hf + "post_attention_layernorm"});
  x = b.add(x, o);
  n = before()
          ? norm(x, {blk + "ffn_norm", hf + (both ? "pre_feedforward_layernorm" : "post_attention_layernorm")})
          : x;
  o = mlp(n, layer, blk, hf);
  if (after()) o = norm(o, {blk + "post_ffw_norm", hf + "post_feedforward_layernorm"});
  return b.add(x, o);
}

/// Constants that GGUF has as tensors, and Hugging Face in config.json.
void declare_constants(GraphBuilder& b, const Config& c, const DecoderTraits& t) {
  std::vector<std::string_view> names;
  if (t.permuted_rope) names.push_back(kRopeFreqs);
  if (t.fused) names = {kRopeLong, kRopeShort};
  for (std::string_view name : names) {
    Weight w{std::string(name), {c.rope.dim / 2}, WeightRole::constant, {}};
    w.optional = true;
    b.weight(std::move(w));
  }
}

}  // namespace

ValueId gated_mlp(GraphBuilder& b, const Config& c, ValueId in, const std::string& blk,
                  const std::string& suffix, const std::string& hf, int64_t ff, bool bias) {
  const std::string label = blk + "ffn_in";
  const ValueId gate = b.linear(in, {{blk + "ffn_gate" + suffix, hf + "gate_proj"}, ff, bias}, label);
  const ValueId up = b.linear(in, {{blk + "ffn_up" + suffix, hf + "up_proj"}, ff, bias}, label);
  const ValueId act = b.mul(b.activation(gate, c.activation), up);
  return b.linear(act, {{blk + "ffn_down" + suffix, hf + "down_proj"}, c.width, bias},
                  blk + "ffn_down" + suffix + "_in");
}

Graph build_decoder(const Config& config, const DecoderTraits& traits) {
  GraphBuilder b(config);
  if (traits.unit_norms) b.norm_transform = HfTransform::add_one;
  const Decoder decoder{b, config, traits};
  ValueId x = b.embed(EmbedOp::Index::token, {"token_embd", "embed_tokens"}, config.vocab);
  const WeightId table = 0;
  for (int64_t i = 0; i < config.layers; ++i) {
    b.begin_block();
    x = decoder.block(x, i);
  }
  b.begin_block();
  b.graph.hidden = decoder.norm(x, {"output_norm", "norm"});
  b.graph.logits = config.tied_embeddings
                       ? b.linear_tied(b.graph.hidden, table, "output_in")
                       : b.linear(b.graph.hidden, {{"output", "lm_head"}, config.vocab}, "output_in");
  if (config.logit_softcap > 0) b.graph.logits = b.softcap(b.graph.logits, config.logit_softcap);
  declare_constants(b, config, traits);
  return std::move(b.graph);
}

Result<Config> decoder_from_hf(const Json& json, std::string_view arch, const DecoderFields& spelled) {
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
  LISSOM_TRY(c.norm_eps, f.positive_or(spelled.eps_key, spelled.eps));
  LISSOM_TRY(c.activation, activation_of(f, spelled.activation_key, spelled.activation));
  LISSOM_TRY(c.tied_embeddings, f.boolean_or("tie_word_embeddings", false));
  LISSOM_CHECK(read_hf_rope(f, spelled.rope_theta, c, spelled.partial_rotary));
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
  const bool layer_norm = f.has("attention.layer_norm_epsilon");
  LISSOM_TRY(c.norm_eps,
             f.positive(layer_norm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon"));
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
          {"hidden_act", hf_activation(c)},
          {"rope_parameters", hf_rope(c)},
          {"rope_theta", c.rope.base}};
}

Result<void> read_layer_types(const Json& json, int64_t period, Config& config) {
  config.windowed.clear();
  if (config.sliding_window == 0) return {};
  const JsonFields f(json);
  if (!f.has("layer_types")) {
    for (int64_t i = 0; i < config.layers; ++i) config.windowed.push_back((i + 1) % period != 0);
    return {};
  }
  const Json& types = json["layer_types"];
  if (!types.is_array() || static_cast<int64_t>(types.size()) != config.layers)
    return bad_input("config.json: field 'layer_types' must be a list of " + std::to_string(config.layers) +
                     " names");
  for (const Json& type : types) {
    if (type != "sliding_attention" && type != "full_attention")
      return unsupported(
          "config.json: field 'layer_types': only sliding_attention and full_attention are known");
    config.windowed.push_back(type == "sliding_attention");
  }
  return {};
}

Json hf_layer_types(const Config& config) {
  Json types = Json::array();
  for (int64_t i = 0; i < config.layers; ++i)
    types.push_back(config.is_windowed(i) ? "sliding_attention" : "full_attention");
  return types;
}

Result<void> read_gguf_windows(const GgufFields& f, int64_t period, Config& c) {
  c.windowed.clear();
  if (c.sliding_window == 0) return {};
  const std::string key = c.arch + ".attention.sliding_window_pattern";
  if (const auto* list = f.metadata().array<bool>(key)) {
    if (static_cast<int64_t>(list->size()) != c.layers)
      return bad_input("key '" + key + "' must be a list of " + std::to_string(c.layers) + " values");
    c.windowed.assign(list->begin(), list->end());
    return {};
  }
  LISSOM_TRY(const int64_t n, f.integer_or("attention.sliding_window_pattern", period, kLayers));
  for (int64_t i = 0; i < c.layers; ++i) c.windowed.push_back((i + 1) % n != 0);
  return {};
}

void write_gguf_windows(const Config& c, int64_t period, GgufMetadata& metadata) {
  if (c.sliding_window == 0) return;
  bool usual = true;
  std::vector<bool> windows;
  for (int64_t i = 0; i < c.layers; ++i) {
    windows.push_back(c.is_windowed(i));
    usual &= windows.back() == ((i + 1) % period != 0);
  }
  if (!usual) metadata.set_array(c.arch + ".attention.sliding_window_pattern", std::move(windows));
}

}  // namespace lissom
