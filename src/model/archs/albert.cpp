// ALBERT (Lan et al. 2019): BERT whose layers share their weights in groups, with narrow embeddings and a
// projection to the width. llama.cpp has no type for it; a GGUF of type "albert" is read by lissom alone.

#include "model/archs/archs.h"
#include "model/encoder.h"
#include "model/fields.h"

namespace lissom {
namespace {

Result<void> check_groups(const Config& c, const std::string& what) {
  if (c.layer_groups <= c.layers && c.layers % c.layer_groups == 0) return {};
  return bad_input(what + ": " + std::to_string(c.layers) + " layers do not divide into " +
                   std::to_string(c.layer_groups) + " groups");
}

Result<Config> from_hf(const Json& json) {
  LISSOM_TRY(Config c, encoder_from_hf(json, "albert"));
  const JsonFields f(json);
  LISSOM_TRY(c.activation, activation_of(f, "hidden_act", "gelu_new"));
  LISSOM_TRY(c.embedding_width, f.integer_or("embedding_size", 128, kWidth));
  LISSOM_TRY(c.layer_groups, f.integer_or("num_hidden_groups", 1, kLayers));
  LISSOM_CHECK(check_groups(c, "config.json: field 'num_hidden_groups'"));
  LISSOM_TRY(const int64_t inner, f.integer_or("inner_group_num", 1, kLayers));
  if (inner != 1) return unsupported("config.json: field 'inner_group_num': only 1 is supported");
  return c;
}

Result<Config> from_gguf(const GgufMetadata& metadata) {
  LISSOM_TRY(Config c, encoder_from_gguf(metadata, "albert"));
  const GgufFields f(metadata, "albert");
  LISSOM_TRY(c.embedding_width, f.integer("token_embedding_length", kWidth));
  LISSOM_TRY(c.layer_groups, f.integer("layer_group_count", kLayers));
  LISSOM_CHECK(check_groups(c, "key 'albert.layer_group_count'"));
  c.activation = f.string_or("activation", "gelu_tanh");
  if (c.activation != "gelu" && c.activation != "gelu_tanh" && c.activation != "relu" && c.activation != "silu")
    return unsupported("key 'albert.activation': unknown activation");
  c.hf_arch = c.labels.empty() ? "AlbertModel" : "AlbertForSequenceClassification";
  return c;
}

void to_gguf(const Config& c, GgufMetadata& metadata) {
  encoder_to_gguf(c, metadata);
  metadata.set("albert.token_embedding_length", static_cast<uint32_t>(c.embedding_width));
  metadata.set("albert.layer_group_count", static_cast<uint32_t>(c.layer_groups));
  metadata.set("albert.activation", c.activation);
}

Json to_hf(const Config& c) {
  Json json = encoder_to_hf(c, "Albert");
  json["model_type"] = "albert";
  json["embedding_size"] = c.embedding_width;
  json["num_hidden_groups"] = c.layer_groups;
  json["inner_group_num"] = 1;
  return json;
}

EncoderBlock block(int64_t group) {
  const std::string hf = "encoder.albert_layer_groups." + std::to_string(group) + ".albert_layers.0.";
  return {"blk." + std::to_string(group) + ".",
          hf + "attention.query",
          hf + "attention.key",
          hf + "attention.value",
          hf + "attention.dense",
          hf + "attention.LayerNorm",
          hf + "ffn",
          hf + "ffn_output",
          hf + "full_layer_layer_norm"};
}

Result<Graph> build(const Config& c) {
  GraphBuilder b(c);
  ValueId x =
      b.linear(build_encoder_embeddings(b, c),
               {{"token_embd_proj", "encoder.embedding_hidden_mapping_in"}, c.width, true}, "embd_proj_in");
  for (int64_t i = 0; i < c.layers; ++i) {
    b.begin_block();
    x = build_encoder_block(b, c, block(i * c.layer_groups / c.layers), "layer." + std::to_string(i) + ".", i,
                            x);
  }
  b.begin_block();
  build_encoder_head(b, c, {.pooler = "pooler", .base_pooler = "pooler"}, x);
  return std::move(b.graph);
}

}  // namespace

const Architecture& albert_architecture() {
  static const Architecture arch{"albert",   {"AlbertModel", "AlbertForSequenceClassification"},
                                 {"albert"}, {"albert."},
                                 from_hf,    from_gguf,
                                 to_gguf,    to_hf,
                                 build,      {"classifier"}};
  return arch;
}

}  // namespace lissom
