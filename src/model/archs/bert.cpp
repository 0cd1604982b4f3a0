// BERT (Devlin et al. 2018): post-norm encoder; as an embedding model (pooled hidden states) or with a head for
// sequence classification (pooler, tanh, classifier).

#include "model/archs/archs.h"
#include "model/encoder.h"
#include "model/fields.h"

namespace lissom {

EncoderBlock bert_block(int64_t i) {
  const std::string hf = "encoder.layer." + std::to_string(i) + ".";
  return {"blk." + std::to_string(i) + ".", hf + "attention.self.query",   hf + "attention.self.key",
          hf + "attention.self.value",      hf + "attention.output.dense", hf + "attention.output.LayerNorm",
          hf + "intermediate.dense",        hf + "output.dense",           hf + "output.LayerNorm"};
}

Graph build_bert(const Config& c, EncoderBlock (*block)(int64_t), const EncoderHead& head) {
  GraphBuilder b(c);
  ValueId x = build_encoder_embeddings(b, c);
  for (int64_t i = 0; i < c.layers; ++i) {
    b.begin_block();
    const EncoderBlock names = block(i);
    x = build_encoder_block(b, c, names, names.canonical, i, x);
  }
  b.begin_block();
  build_encoder_head(b, c, head, x);
  return std::move(b.graph);
}

namespace {

Result<Config> from_hf(const Json& json) {
  return encoder_from_hf(json, "bert");
}

Result<Config> from_gguf(const GgufMetadata& metadata) {
  LISSOM_TRY(Config c, encoder_from_gguf(metadata, "bert"));
  c.hf_arch = c.labels.empty() ? "BertModel" : "BertForSequenceClassification";
  return c;
}

Json to_hf(const Config& c) {
  Json json = encoder_to_hf(c, "Bert");
  json["model_type"] = "bert";
  return json;
}

Result<Graph> build(const Config& c) {
  return build_bert(c, bert_block, {.pooler = "pooler.dense", .base_pooler = "pooler.dense"});
}

}  // namespace

const Architecture& bert_architecture() {
  static const Architecture arch{"bert",          {"BertModel", "BertForSequenceClassification"},
                                 {"bert"},        {"bert."},
                                 from_hf,         from_gguf,
                                 encoder_to_gguf, to_hf,
                                 build,           {"classifier"},
                                 only_erf_gelu};
  return arch;
}

}  // namespace lissom
