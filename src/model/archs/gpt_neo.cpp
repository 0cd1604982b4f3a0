// GPT-Neo (Black et al. 2021): GPT-2 with a window of 256 in some layers and scores that are not scaled. GGUF
// has no type for it. Its canonical form is gpt2's: q, k and v fused with zero biases, and √d folded into q's
// rows, which undoes gpt2's scale. As a gpt2 GGUF that is exact only where no window is shorter than the
// context.

#include <cmath>

#include "model/archs/archs.h"
#include "model/fields.h"
#include "model/graph_builder.h"

namespace lissom {
namespace {

/// [[["global", "local"], 12]]: runs of layer kinds with how often each is repeated.
Result<void> read_attention_types(const Json& json, Config& c) {
  const std::string what = "config.json: field 'attention_types'";
  const Json fallback = Json::array({Json::array({Json::array({"global", "local"}), c.layers / 2})});
  const Json& types = JsonFields(json).has("attention_types") ? json["attention_types"] : fallback;
  if (!types.is_array()) return bad_input(what + " must be a list");
  for (const Json& run : types) {
    if (!run.is_array() || run.size() != 2 || !run[0].is_array() || !run[1].is_number_unsigned() ||
        run[1].get<uint64_t>() > static_cast<uint64_t>(kLayers.high))
      return bad_input(what + ": expected [kinds, count]");
    for (uint64_t n = run[1].get<uint64_t>(); n > 0; --n) {
      for (const Json& kind : run[0]) {
        if (kind != "global" && kind != "local") return unsupported(what + ": only global and local are known");
        c.windowed.push_back(kind == "local");
      }
      if (static_cast<int64_t>(c.windowed.size()) > c.layers) break;
    }
  }
  if (static_cast<int64_t>(c.windowed.size()) != c.layers)
    return bad_input(what + " does not make " + std::to_string(c.layers) + " layers, as 'num_layers' says");
  return {};
}

Result<Config> from_hf(const Json& json) {
  const JsonFields f(json);
  Config c;
  c.arch = "gpt2";
  LISSOM_TRY(c.vocab, f.integer("vocab_size", kVocab));
  LISSOM_TRY(c.width, f.integer("hidden_size", kWidth));
  LISSOM_TRY(c.layers, f.integer("num_layers", kLayers));
  LISSOM_TRY(c.heads, f.integer("num_heads", kHeads));
  LISSOM_TRY(c.context, f.integer_or("max_position_embeddings", 2048, kContext));
  LISSOM_TRY(c.ff, f.integer_or("intermediate_size", 4 * c.width, kFeedForward));
  LISSOM_TRY(c.norm_eps, f.positive_or("layer_norm_epsilon", 1e-5));
  LISSOM_TRY(c.activation, activation_of(f, "activation_function", "gelu_new"));
  LISSOM_TRY(c.tied_embeddings, f.boolean_or("tie_word_embeddings", true));
  LISSOM_TRY(c.sliding_window, f.integer_or("window_size", 256, kContext));
  if (c.width % c.heads != 0)
    return bad_input("config.json: field 'hidden_size' does not divide by 'num_heads'");
  LISSOM_CHECK(read_attention_types(json, c));
  c.kv_heads = c.heads;
  c.head_dim = c.width / c.heads;
  c.attention_bias = c.mlp_bias = true;
  return c;
}

Json to_hf(const Config& c) {
  Json types = Json::array();
  for (int64_t i = 0; i < c.layers; ++i)
    types.push_back(Json::array({Json::array({c.is_windowed(i) ? "local" : "global"}), 1}));
  return {{"architectures", {"GPTNeoForCausalLM"}},
          {"model_type", "gpt_neo"},
          {"hidden_size", c.width},
          {"num_layers", c.layers},
          {"num_heads", c.heads},
          {"max_position_embeddings", c.context},
          {"intermediate_size", c.ff},
          {"layer_norm_epsilon", c.norm_eps},
          {"activation_function", c.activation == "gelu_tanh" ? "gelu_new" : c.activation},
          {"window_size", c.sliding_window > 0 ? c.sliding_window : c.context},
          {"attention_types", types}};
}

/// Canonical attn_qkv out of three tensors without biases.
LinearOp fused_qkv(GraphBuilder& b, const Config& c, ValueId in, const std::string& blk,
                   const std::string& hf) {
  Weight weight{
      blk + "attn_qkv.weight", {3 * c.width, c.width}, WeightRole::linear, {}, HfTransform::concat_rows};
  for (const char* part : {"q_proj", "k_proj", "v_proj"})
    weight.hf.push_back(hf + "attn.attention." + part + ".weight");
  weight.factors = {std::sqrt(static_cast<float>(c.head_dim)), 1.0F, 1.0F};
  const Weight bias{blk + "attn_qkv.bias", {3 * c.width}, WeightRole::bias, {}, HfTransform::zeros};
  const WeightId w = b.weight(weight);
  LinearOp op{in, b.value(3 * c.width), w, b.weight(bias), blk + "attn_in"};
  b.graph.ops.push_back(op);
  return op;
}

ValueId build_block(GraphBuilder& b, const Config& c, int64_t i, ValueId x) {
  const std::string blk = "blk." + std::to_string(i) + ".", hf = "h." + std::to_string(i) + ".";
  const ValueId n = b.layer_norm(x, {blk + "attn_norm", hf + "ln_1"});
  const ValueId qkv = fused_qkv(b, c, n, blk, hf).out;
  const ValueId a = b.attention(b.slice(qkv, 0, c.width), b.slice(qkv, c.width, c.width),
                                b.slice(qkv, 2 * c.width, c.width), i, c.is_windowed(i) ? c.sliding_window : 0);
  x = b.add(x, b.linear(a, {{blk + "attn_output", hf + "attn.attention.out_proj"}, c.width, true},
                        blk + "attn_out_in"));
  const ValueId m = b.layer_norm(x, {blk + "ffn_norm", hf + "ln_2"});
  const ValueId up = b.linear(m, {{blk + "ffn_up", hf + "mlp.c_fc"}, c.ff, true}, blk + "ffn_in");
  return b.add(x, b.linear(b.activation(up, c.activation),
                           {{blk + "ffn_down", hf + "mlp.c_proj"}, c.width, true}, blk + "ffn_down_in"));
}

Result<Graph> build(const Config& c) {
  GraphBuilder b(c);
  const ValueId tokens = b.embed(EmbedOp::Index::token, {"token_embd", "wte"}, c.vocab);
  const ValueId positions = b.embed(EmbedOp::Index::position, {"position_embd", "wpe"}, c.context);
  ValueId x = b.add(tokens, positions);
  for (int64_t i = 0; i < c.layers; ++i) {
    b.begin_block();
    x = build_block(b, c, i, x);
  }
  b.begin_block();
  b.graph.hidden = b.layer_norm(x, {"output_norm", "ln_f"});
  b.graph.logits = c.tied_embeddings ? b.linear_tied(b.graph.hidden, 0, "output_in")
                                     : b.linear(b.graph.hidden, {{"output", "lm_head"}, c.vocab}, "output_in");
  return std::move(b.graph);
}

Result<void> fits_gguf(const Config& c) {
  for (int64_t i = 0; i < c.layers; ++i)
    if (c.is_windowed(i) && c.sliding_window < c.context)
      return unsupported("GPT-Neo has no type in GGUF. As gpt2 it would be exact only where the context (" +
                         std::to_string(c.context) + ") is no longer than the window of its local layers (" +
                         std::to_string(c.sliding_window) + "); lissom runs the Hugging Face folder as it is");
  if (c.activation == "gelu_tanh") return {};
  return unsupported("config.json: field 'activation_function': llama.cpp's gpt2 has gelu_new alone");
}

}  // namespace

const Architecture& gpt_neo_architecture() {
  static const Architecture arch = [] {
    Architecture a = gpt2_architecture();
    a.hf_architectures = {"GPTNeoForCausalLM"};
    a.hf_model_types = {"gpt_neo"};
    a.from_hf = from_hf;
    a.to_hf = to_hf;
    a.build = build;
    a.fits_gguf = fits_gguf;
    return a;
  }();
  return arch;
}

}  // namespace lissom
