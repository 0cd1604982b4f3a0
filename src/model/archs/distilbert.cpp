// DistilBERT (Sanh et al. 2019): BERT without token types, and with a ReLU in its classifier. Its GGUF is
// "bert"; a classifier's ReLU is bert.classifier.activation, which lissom reads (llama.cpp would apply tanh
// there).

#include "model/archs/archs.h"
#include "model/encoder.h"
#include "model/fields.h"

namespace lissom {
namespace {

Result<Config> from_hf(const Json& json) {
  const JsonFields f(json);
  Config c;
  c.arch = "bert";
  LISSOM_TRY(c.vocab, f.integer("vocab_size", kVocab));
  LISSOM_TRY(c.width, f.integer("dim", kWidth));
  LISSOM_TRY(c.layers, f.integer("n_layers", kLayers));
  LISSOM_TRY(c.heads, f.integer("n_heads", kHeads));
  LISSOM_TRY(c.ff, f.integer("hidden_dim", kFeedForward));
  LISSOM_TRY(c.context, f.integer_or("max_position_embeddings", 512, kContext));
  LISSOM_TRY(c.activation, activation_of(f, "activation", "gelu"));
  if (c.width % c.heads != 0) return bad_input("config.json: field 'dim' does not divide by 'n_heads'");
  c.norm_eps = 1e-12F;
  finish_encoder(c);
  return c;
}

Result<Config> from_gguf(const GgufMetadata& metadata) {
  LISSOM_TRY(Config c, encoder_from_gguf(metadata, "bert"));
  c.hf_arch = c.labels.empty() ? "DistilBertModel" : "DistilBertForSequenceClassification";
  return c;
}

void to_gguf(const Config& c, GgufMetadata& metadata) {
  encoder_to_gguf(c, metadata);
  if (!c.labels.empty()) metadata.set("bert.classifier.activation", std::string("relu"));
}

Json to_hf(const Config& c) {
  Json json = encoder_to_hf(c, "DistilBert");
  for (const char* key : {"hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
                          "type_vocab_size", "layer_norm_eps", "hidden_act", "position_embedding_type"})
    json.erase(key);
  json["model_type"] = "distilbert";
  json["dim"] = c.width;
  json["n_layers"] = c.layers;
  json["n_heads"] = c.heads;
  json["hidden_dim"] = c.ff;
  json["activation"] = c.activation;
  return json;
}

EncoderBlock block(int64_t i) {
  const std::string hf = "transformer.layer." + std::to_string(i) + ".";
  return {
      "blk." + std::to_string(i) + ".", hf + "attention.q_lin", hf + "attention.k_lin", hf + "attention.v_lin",
      hf + "attention.out_lin",         hf + "sa_layer_norm",   hf + "ffn.lin1",        hf + "ffn.lin2",
      hf + "output_layer_norm"};
}

Result<Graph> build(const Config& c) {
  return build_bert(c, block, {.pooler = "pre_classifier", .activation = "relu"});
}

}  // namespace

const Architecture& distilbert_architecture() {
  static const Architecture arch{"bert",         {"DistilBertModel", "DistilBertForSequenceClassification"},
                                 {"distilbert"}, {"distilbert."},
                                 from_hf,        from_gguf,
                                 to_gguf,        to_hf,
                                 build,          {"classifier", "pre_classifier"},
                                 only_erf_gelu};
  return arch;
}

}  // namespace lissom
