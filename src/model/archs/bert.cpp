// BERT (Devlin et al. 2018): post-norm encoder; as an embedding model (pooled hidden states) or with a head for
// sequence classification (pooler, tanh, classifier).

#include "model/archs/archs.h"
#include "model/fields.h"
#include "model/graph_builder.h"

namespace lissom {
namespace {

Result<Config> from_hf(const Json& json) {
  const JsonFields f(json);
  Config c;
  c.arch = "bert";
  LISSOM_TRY(c.vocab, f.integer("vocab_size", kVocab));
  LISSOM_TRY(c.width, f.integer("hidden_size", kWidth));
  LISSOM_TRY(c.layers, f.integer("num_hidden_layers", kLayers));
  LISSOM_TRY(c.heads, f.integer("num_attention_heads", kHeads));
  LISSOM_TRY(c.ff, f.integer("intermediate_size", kFeedForward));
  LISSOM_TRY(c.context, f.integer_or("max_position_embeddings", 512, kContext));
  LISSOM_TRY(c.token_types, f.integer_or("type_vocab_size", 2, Bounds{1, 1 << 16}));
  LISSOM_TRY(c.norm_eps, f.positive_or("layer_norm_eps", 1e-12));
  LISSOM_TRY(c.activation, activation_of(f, "hidden_act", "gelu"));
  LISSOM_TRY(const std::string positions, f.string_or("position_embedding_type", "absolute"));
  if (positions != "absolute")
    return unsupported("config.json: field 'position_embedding_type': only absolute is supported");
  if (c.width % c.heads != 0)
    return bad_input("config.json: field 'hidden_size' does not divide by 'num_attention_heads'");
  c.kv_heads = c.heads;
  c.head_dim = c.width / c.heads;
  c.causal = false;
  c.attention_bias = c.mlp_bias = true;
  return c;
}

Result<Config> from_gguf(const GgufMetadata& metadata) {
  const GgufFields f(metadata, "bert");
  Config c;
  c.arch = "bert";
  LISSOM_TRY(c.width, f.integer("embedding_length", kWidth));
  LISSOM_TRY(c.layers, f.integer("block_count", kLayers));
  LISSOM_TRY(c.heads, f.integer("attention.head_count", kHeads));
  LISSOM_TRY(c.context, f.integer("context_length", kContext));
  LISSOM_TRY(c.ff, f.integer("feed_forward_length", kFeedForward));
  LISSOM_TRY(c.norm_eps, f.positive("attention.layer_norm_epsilon"));
  if (c.width % c.heads != 0)
    return bad_input("key 'bert.embedding_length' does not divide by attention.head_count");
  const int64_t types = metadata.integer_or("tokenizer.ggml.token_type_count", 1);
  if (types < 1 || types > (1 << 16)) return bad_input("key 'tokenizer.ggml.token_type_count' is out of range");
  c.token_types = types;
  switch (metadata.integer_or("bert.pooling_type", 0)) {
    case 0:
      c.pooling = Pooling::none;
      break;
    case 1:
      c.pooling = Pooling::mean;
      break;
    case 2:
      c.pooling = Pooling::cls;
      break;
    case 3:
      c.pooling = Pooling::last;
      break;
    default:
      return unsupported("key 'bert.pooling_type': unknown value");
  }
  if (const auto* labels = metadata.array<std::string>("bert.classifier.output_labels")) c.labels = *labels;
  c.hf_arch = c.labels.empty() ? "BertModel" : "BertForSequenceClassification";
  c.activation = "gelu";
  c.kv_heads = c.heads;
  c.head_dim = c.width / c.heads;
  c.causal = false;
  c.attention_bias = c.mlp_bias = true;
  return c;
}

void to_gguf(const Config& c, GgufMetadata& metadata) {
  const auto set = [&](const char* key, int64_t v) { metadata.set("bert." + std::string(key), uint32_t(v)); };
  set("block_count", c.layers);
  set("context_length", c.context);
  set("embedding_length", c.width);
  set("feed_forward_length", c.ff);
  set("attention.head_count", c.heads);
  metadata.set("bert.attention.layer_norm_epsilon", c.norm_eps);
  metadata.set("bert.attention.causal", false);
  if (c.pooling != Pooling::none)
    set("pooling_type", c.pooling == Pooling::mean ? 1 : c.pooling == Pooling::cls ? 2 : 3);
  metadata.set("tokenizer.ggml.token_type_count", static_cast<uint32_t>(c.token_types));
  if (!c.labels.empty()) metadata.set_array("bert.classifier.output_labels", c.labels);
}

Json to_hf(const Config& c) {
  Json json = {{"architectures", {c.labels.empty() ? "BertModel" : "BertForSequenceClassification"}},
               {"model_type", "bert"},
               {"hidden_size", c.width},
               {"num_hidden_layers", c.layers},
               {"num_attention_heads", c.heads},
               {"intermediate_size", c.ff},
               {"max_position_embeddings", c.context},
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

void build_block(GraphBuilder& b, const Config& c, int64_t i, ValueId& x) {
  const std::string blk = "blk." + std::to_string(i) + ".", hf = "encoder.layer." + std::to_string(i) + ".";
  const auto projection = [&](const char* name, const char* hf_name) {
    return b.linear(x, {{blk + name, hf + hf_name}, c.width, true}, blk + "attn_in");
  };
  const ValueId q = projection("attn_q", "attention.self.query");
  const ValueId k = projection("attn_k", "attention.self.key");
  const ValueId v = projection("attn_v", "attention.self.value");
  const ValueId a = b.attention(q, k, v, i, 0);
  const ValueId o =
      b.linear(a, {{blk + "attn_output", hf + "attention.output.dense"}, c.width, true}, blk + "attn_out_in");
  const ValueId n = b.layer_norm(b.add(x, o), {blk + "attn_output_norm", hf + "attention.output.LayerNorm"});
  const ValueId up = b.linear(n, {{blk + "ffn_up", hf + "intermediate.dense"}, c.ff, true}, blk + "ffn_in");
  const ValueId act = b.activation(up, c.activation);
  const ValueId down =
      b.linear(act, {{blk + "ffn_down", hf + "output.dense"}, c.width, true}, blk + "ffn_down_in");
  x = b.layer_norm(b.add(n, down), {blk + "layer_output_norm", hf + "output.LayerNorm"});
}

Result<Graph> build(const Config& c) {
  GraphBuilder b(c);
  const ValueId tokens = b.embed(EmbedOp::Index::token, {"token_embd", "embeddings.word_embeddings"}, c.vocab);
  const ValueId types =
      b.embed(EmbedOp::Index::token_type, {"token_types", "embeddings.token_type_embeddings"}, c.token_types);
  const ValueId positions =
      b.embed(EmbedOp::Index::position, {"position_embd", "embeddings.position_embeddings"}, c.context);
  ValueId x = b.layer_norm(b.add(b.add(tokens, types), positions), {"token_embd_norm", "embeddings.LayerNorm"});
  for (int64_t i = 0; i < c.layers; ++i) {
    b.begin_block();
    build_block(b, c, i, x);
  }
  b.begin_block();
  b.graph.hidden = x;
  if (!c.labels.empty()) {
    const ValueId first = b.pool(x, Pooling::cls);
    const ValueId pooled =
        b.activation(b.linear(first, {{"cls", "pooler.dense"}, c.width, true}, "cls_in"), "tanh");
    b.graph.pooled = pooled;
    b.graph.logits = b.linear(
        pooled, {{"cls.output", "classifier"}, static_cast<int64_t>(c.labels.size()), true}, "cls_output_in");
    return std::move(b.graph);
  }
  // An embedding model does not run the pooler that its checkpoint may carry, but a conversion keeps it.
  b.weight({"cls.weight",
            {c.width, c.width},
            WeightRole::linear,
            {"pooler.dense.weight"},
            HfTransform::none,
            0,
            true});
  b.weight({"cls.bias", {c.width}, WeightRole::bias, {"pooler.dense.bias"}, HfTransform::none, 0, true});
  if (c.pooling != Pooling::none) b.graph.pooled = b.pool(x, c.pooling);
  return std::move(b.graph);
}

}  // namespace

const Architecture& bert_architecture() {
  static const Architecture arch{"bert",   {"BertModel", "BertForSequenceClassification"},
                                 {"bert"}, {"bert."},
                                 from_hf,  from_gguf,
                                 to_gguf,  to_hf,
                                 build};
  return arch;
}

}  // namespace lissom
