// The encoders of the BERT family: what their files in archs/ share.

#include "model/encoder.h"

#include <algorithm>

#include "model/arch.h"
#include "model/fields.h"

namespace lissom {

ValueId build_encoder_block(GraphBuilder& b, const Config& c, const EncoderBlock& n, const std::string& label,
                            int64_t layer, ValueId x) {
  const std::string& blk = n.canonical;
  const auto projection = [&](const char* name, const std::string& hf) {
    return b.linear(x, {{blk + name, hf}, c.width, true}, label + "attn_in");
  };
  const ValueId q = projection("attn_q", n.q), k = projection("attn_k", n.k), v = projection("attn_v", n.v);
  const ValueId a = b.attention(q, k, v, layer, 0);
  const ValueId o = b.linear(a, {{blk + "attn_output", n.o}, c.width, true}, label + "attn_out_in");
  const ValueId m = b.layer_norm(b.add(x, o), {blk + "attn_output_norm", n.attention_norm});
  const ValueId up = b.linear(m, {{blk + "ffn_up", n.up}, c.ff, true}, label + "ffn_in");
  const ValueId down = b.linear(b.activation(up, c.activation), {{blk + "ffn_down", n.down}, c.width, true},
                                label + "ffn_down_in");
  return b.layer_norm(b.add(m, down), {blk + "layer_output_norm", n.output_norm});
}

ValueId build_encoder_embeddings(GraphBuilder& b, const Config& c) {
  ValueId x = b.embed(EmbedOp::Index::token, {"token_embd", "embeddings.word_embeddings"}, c.vocab);
  if (c.token_types > 0)
    x = b.add(x, b.embed(EmbedOp::Index::token_type, {"token_types", "embeddings.token_type_embeddings"},
                         c.token_types));
  const ValueId positions =
      b.embed(EmbedOp::Index::position, {"position_embd", "embeddings.position_embeddings"}, c.context,
              c.first_position);
  return b.layer_norm(b.add(x, positions), {"token_embd_norm", "embeddings.LayerNorm"});
}

void build_encoder_head(GraphBuilder& b, const Config& c, const EncoderHead& head, ValueId x) {
  b.graph.hidden = x;
  if (!c.labels.empty()) {
    ValueId pooled = b.pool(x, Pooling::cls);
    if (!head.pooler.empty())
      pooled = b.activation(b.linear(pooled, {{"cls", head.pooler}, c.width, true}, "cls_in"), head.activation);
    b.graph.pooled = pooled;
    b.graph.logits =
        b.linear(pooled, {{"cls.output", head.classifier}, static_cast<int64_t>(c.labels.size()), true},
                 "cls_output_in");
    return;
  }
  // An embedding model does not run the pooler that its checkpoint may carry, but a conversion keeps it.
  if (!head.base_pooler.empty()) {
    Weight pooler{"cls.weight", {c.width, c.width}, WeightRole::linear, {head.base_pooler + ".weight"}};
    Weight bias{"cls.bias", {c.width}, WeightRole::bias, {head.base_pooler + ".bias"}};
    for (Weight* w : {&pooler, &bias}) {
      w->optional = true;
      b.weight(std::move(*w));
    }
  }
  if (c.pooling != Pooling::none) b.graph.pooled = b.pool(x, c.pooling);
}

Result<Config> encoder_from_hf(const Json& json, std::string_view arch) {
  const JsonFields f(json);
  Config c;
  c.arch = arch;
  LISSOM_TRY(c.vocab, f.integer("vocab_size", kVocab));
  LISSOM_TRY(c.width, f.integer("hidden_size", kWidth));
  LISSOM_TRY(c.layers, f.integer("num_hidden_layers", kLayers));
  LISSOM_TRY(c.heads, f.integer("num_attention_heads", kHeads));
  LISSOM_TRY(c.ff, f.integer("intermediate_size", kFeedForward));
  LISSOM_TRY(c.context, f.integer_or("max_position_embeddings", 512, kContext));
  LISSOM_TRY(c.token_types, f.integer_or("type_vocab_size", 2, Bounds{0, 1 << 16}));
  LISSOM_TRY(c.norm_eps, f.positive_or("layer_norm_eps", 1e-12));
  LISSOM_TRY(c.activation, activation_of(f, "hidden_act", "gelu"));
  LISSOM_TRY(const std::string positions, f.string_or("position_embedding_type", "absolute"));
  if (positions != "absolute")
    return unsupported("config.json: field 'position_embedding_type': only absolute is supported");
  if (c.width % c.heads != 0)
    return bad_input("config.json: field 'hidden_size' does not divide by 'num_attention_heads'");
  finish_encoder(c);
  return c;
}

void finish_encoder(Config& c) {
  c.kv_heads = c.heads;
  c.head_dim = c.width / c.heads;
  c.causal = false;
  c.attention_bias = c.mlp_bias = true;
}

namespace {

Result<Pooling> pooling_of(int64_t value) {
  constexpr Pooling kKinds[] = {Pooling::none, Pooling::mean, Pooling::cls, Pooling::last};
  if (value < 0 || value > 3) return unsupported("key 'pooling_type': unknown value");
  return kKinds[value];
}

}  // namespace

Result<Config> encoder_from_gguf(const GgufMetadata& metadata, std::string_view arch) {
  const GgufFields f(metadata, arch);
  Config c;
  c.arch = arch;
  LISSOM_TRY(c.width, f.integer("embedding_length", kWidth));
  LISSOM_TRY(c.layers, f.integer("block_count", kLayers));
  LISSOM_TRY(c.heads, f.integer("attention.head_count", kHeads));
  LISSOM_TRY(c.context, f.integer("context_length", kContext));
  LISSOM_TRY(c.ff, f.integer("feed_forward_length", kFeedForward));
  LISSOM_TRY(c.norm_eps, f.positive("attention.layer_norm_epsilon"));
  if (c.width % c.heads != 0)
    return bad_input("key '" + c.arch + ".embedding_length' does not divide by attention.head_count");
  const int64_t types = metadata.integer_or("tokenizer.ggml.token_type_count", 1);
  if (types < 1 || types > (1 << 16)) return bad_input("key 'tokenizer.ggml.token_type_count' is out of range");
  c.token_types = types;
  LISSOM_TRY(c.pooling, pooling_of(metadata.integer_or(c.arch + ".pooling_type", 0)));
  if (const auto* labels = metadata.array<std::string>(c.arch + ".classifier.output_labels"))
    c.labels = *labels;
  c.activation = "gelu";
  finish_encoder(c);
  return c;
}

void encoder_to_gguf(const Config& c, GgufMetadata& metadata) {
  const auto set = [&](const char* key, int64_t v) { metadata.set(c.arch + "." + key, uint32_t(v)); };
  set("block_count", c.layers);
  set("context_length", c.context);
  set("embedding_length", c.width);
  set("feed_forward_length", c.ff);
  set("attention.head_count", c.heads);
  metadata.set(c.arch + ".attention.layer_norm_epsilon", c.norm_eps);
  metadata.set(c.arch + ".attention.causal", false);
  if (c.pooling != Pooling::none)
    set("pooling_type", c.pooling == Pooling::mean ? 1 : c.pooling == Pooling::cls ? 2 : 3);
  // llama.cpp wants one even where there are none.
  metadata.set("tokenizer.ggml.token_type_count", static_cast<uint32_t>(std::max<int64_t>(c.token_types, 1)));
  if (!c.labels.empty()) metadata.set_array(c.arch + ".classifier.output_labels", c.labels);
}

Json encoder_to_hf(const Config& c, std::string_view family) {
  const std::string name(family);
  Json json = {{"architectures", {name + (c.labels.empty() ? "Model" : "ForSequenceClassification")}},
               {"hidden_size", c.width},
               {"num_hidden_layers", c.layers},
               {"num_attention_heads", c.heads},
               {"intermediate_size", c.ff},
               {"max_position_embeddings", c.context + c.first_position},
               {"type_vocab_size", c.token_types},
               {"layer_norm_eps", c.norm_eps},
               {"hidden_act", c.activation == "gelu_tanh" ? "gelu_new" : c.activation},
               {"position_embedding_type", "absolute"}};
  for (size_t i = 0; i < c.labels.size(); ++i) {
    json["id2label"][std::to_string(i)] = c.labels[i];
    json["label2id"][c.labels[i]] = i;
  }
  return json;
}

Result<void> only_erf_gelu(const Config& c) {
  if (c.activation == "gelu") return {};
  return unsupported("config.json: the activation: GGUF's " + c.arch + " has gelu alone");
}

}  // namespace lissom
