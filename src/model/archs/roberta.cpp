// RoBERTa (Liu et al. 2019): BERT whose positions begin after the padding id, so that the first rows of their
// table are never used; GGUF has the table without them. Its GGUF is "bert".

#include "model/archs/archs.h"
#include "model/encoder.h"
#include "model/fields.h"

namespace lissom {
namespace {

Result<Config> from_hf(const Json& json) {
  LISSOM_TRY(Config c, encoder_from_hf(json, "bert"));
  LISSOM_TRY(const int64_t padding, JsonFields(json).integer_or("pad_token_id", 1, Bounds{0, 1 << 20}));
  c.first_position = padding + 1;
  if (c.context <= c.first_position)
    return bad_input("config.json: field 'max_position_embeddings' (" + std::to_string(c.context) +
                     ") leaves no position after the padding's");
  c.context -= c.first_position;
  return c;
}

Result<Config> from_gguf(const GgufMetadata& metadata) {
  LISSOM_TRY(Config c, encoder_from_gguf(metadata, "bert"));
  c.hf_arch = c.labels.empty() ? "RobertaModel" : "RobertaForSequenceClassification";
  const int64_t padding = metadata.integer_or("tokenizer.ggml.padding_token_id", 1);
  if (padding < 0 || padding > (1 << 20))
    return bad_input("key 'tokenizer.ggml.padding_token_id' is out of range");
  c.first_position = padding + 1;
  return c;
}

Json to_hf(const Config& c) {
  Json json = encoder_to_hf(c, "Roberta");
  json["model_type"] = "roberta";
  json["pad_token_id"] = c.first_position - 1;
  return json;
}

Result<Graph> build(const Config& c) {
  return build_bert(
      c, bert_block,
      {.pooler = "classifier.dense", .classifier = "classifier.out_proj", .base_pooler = "pooler.dense"});
}

}  // namespace

const Architecture& roberta_architecture() {
  static const Architecture arch{"bert",          {"RobertaModel", "RobertaForSequenceClassification"},
                                 {"roberta"},     {"roberta."},
                                 from_hf,         from_gguf,
                                 encoder_to_gguf, to_hf,
                                 build,           {"classifier"},
                                 only_erf_gelu};
  return arch;
}

}  // namespace lissom
