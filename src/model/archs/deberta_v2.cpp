// DeBERTa-v3 (He et al. 2021), which transformers calls deberta-v2: attention over content and relative
// position apart (RelativeAttentionOp), no absolute positions, no token types. llama.cpp has no type for it; a
// GGUF of type "deberta-v2" is read by lissom alone. Version 2's large models have a convolution, which is
// refused.

#include "model/archs/archs.h"
#include "model/encoder.h"
#include "model/fields.h"

namespace lissom {
namespace {

/// What distinguishes the variants: those that differ from version 3's are refused.
Result<void> check_variant(const Json& json) {
  const JsonFields f(json);
  const auto is = [&](const char* key, bool fallback, bool wanted) -> Result<void> {
    LISSOM_TRY(const bool value, f.boolean_or(key, fallback));
    if (value != wanted)
      return unsupported("config.json: field '" + std::string(key) + "': only " + (wanted ? "true" : "false") +
                         " is supported");
    return {};
  };
  LISSOM_CHECK(is("relative_attention", false, true));
  LISSOM_CHECK(is("share_att_key", false, true));
  LISSOM_CHECK(is("position_biased_input", true, false));
  LISSOM_TRY(const int64_t kernel, f.integer_or("conv_kernel_size", 0, Bounds{-1, 1 << 20}));
  if (kernel > 0) return unsupported("config.json: field 'conv_kernel_size': a convolution is not supported");
  const Json& kinds = f.has("pos_att_type") ? json["pos_att_type"] : Json();
  const std::string text = kinds.is_string() ? kinds.get<std::string>() : kinds.dump();
  if (text.find("c2p") == std::string::npos || text.find("p2c") == std::string::npos)
    return unsupported("config.json: field 'pos_att_type': only c2p and p2c together are supported");
  LISSOM_TRY(const std::string norm, f.string_or("norm_rel_ebd", "none"));
  if (norm != "layer_norm")
    return unsupported("config.json: field 'norm_rel_ebd': only layer_norm is supported");
  LISSOM_TRY(const std::string pooler, f.string_or("pooler_hidden_act", "gelu"));
  if (pooler != "gelu") return unsupported("config.json: field 'pooler_hidden_act': only gelu is supported");
  return {};
}

Result<Config> from_hf(const Json& json) {
  LISSOM_CHECK(check_variant(json));
  LISSOM_TRY(Config c, encoder_from_hf(json, "deberta-v2"));
  const JsonFields f(json);
  LISSOM_TRY(c.norm_eps, f.positive_or("layer_norm_eps", 1e-7));
  LISSOM_TRY(c.token_types, f.integer_or("type_vocab_size", 0, Bounds{0, 1 << 16}));
  if (c.token_types > 0) return unsupported("config.json: field 'type_vocab_size': only 0 is supported");
  LISSOM_TRY(c.position_buckets, f.integer("position_buckets", Bounds{2, 1 << 16}));
  LISSOM_TRY(c.max_distance, f.integer_or("max_relative_positions", -1, Bounds{-1, kContext.high}));
  if (c.max_distance < 1) c.max_distance = c.context;
  if (c.max_distance <= c.position_buckets / 2 + 1)
    return bad_input("config.json: field 'max_relative_positions' is too small for 'position_buckets'");
  LISSOM_TRY(const int64_t embedding, f.integer_or("embedding_size", c.width, kWidth));
  if (embedding != c.width)
    return unsupported("config.json: field 'embedding_size': only hidden_size is supported");
  return c;
}

Result<Config> from_gguf(const GgufMetadata& metadata) {
  LISSOM_TRY(Config c, encoder_from_gguf(metadata, "deberta-v2"));
  const GgufFields f(metadata, "deberta-v2");
  c.token_types = 0;
  LISSOM_TRY(c.position_buckets, f.integer("attention.position_buckets", Bounds{2, 1 << 16}));
  LISSOM_TRY(c.max_distance,
             f.integer("attention.max_distance", Bounds{c.position_buckets / 2 + 2, kContext.high}));
  c.hf_arch = c.labels.empty() ? "DebertaV2Model" : "DebertaV2ForSequenceClassification";
  return c;
}

void to_gguf(const Config& c, GgufMetadata& metadata) {
  encoder_to_gguf(c, metadata);
  metadata.set("deberta-v2.attention.position_buckets", static_cast<uint32_t>(c.position_buckets));
  metadata.set("deberta-v2.attention.max_distance", static_cast<uint32_t>(c.max_distance));
}

Json to_hf(const Config& c) {
  Json json = encoder_to_hf(c, "DebertaV2");
  json.erase("position_embedding_type");
  json["model_type"] = "deberta-v2";
  json["relative_attention"] = json["share_att_key"] = true;
  json["position_biased_input"] = false;
  json["pos_att_type"] = {"p2c", "c2p"};
  json["norm_rel_ebd"] = "layer_norm";
  json["position_buckets"] = c.position_buckets;
  json["max_relative_positions"] = c.max_distance;
  json["pooler_hidden_size"] = c.width;
  json["pooler_hidden_act"] = "gelu";
  return json;
}

EncoderBlock block(int64_t i) {
  EncoderBlock names = bert_block(i);
  const std::string hf = "encoder.layer." + std::to_string(i) + ".attention.self.";
  names.q = hf + "query_proj";
  names.k = hf + "key_proj";
  names.v = hf + "value_proj";
  return names;
}

Result<Graph> build(const Config& c) {
  GraphBuilder b(c);
  const ValueId tokens = b.embed(EmbedOp::Index::token, {"token_embd", "embeddings.word_embeddings"}, c.vocab);
  ValueId x = b.layer_norm(tokens, {"token_embd_norm", "embeddings.LayerNorm"});
  const WeightId table = b.weight({"rel_embd.weight",
                                   {2 * c.position_buckets, c.width},
                                   WeightRole::position,
                                   {"encoder.rel_embeddings.weight"}});
  const WeightId norm =
      b.weight({"rel_embd_norm.weight", {c.width}, WeightRole::norm, {"encoder.LayerNorm.weight"}});
  const WeightId bias =
      b.weight({"rel_embd_norm.bias", {c.width}, WeightRole::norm, {"encoder.LayerNorm.bias"}});
  b.relative = RelativePositions{table, norm, bias, c.norm_eps, c.position_buckets, c.max_distance};
  for (int64_t i = 0; i < c.layers; ++i) {
    b.begin_block();
    const EncoderBlock names = block(i);
    x = build_encoder_block(b, c, names, names.canonical, i, x);
  }
  b.begin_block();
  build_encoder_head(b, c, {.pooler = "pooler.dense", .activation = "gelu"}, x);
  return std::move(b.graph);
}

}  // namespace

const Architecture& deberta_v2_architecture() {
  static const Architecture arch{"deberta-v2",   {"DebertaV2Model", "DebertaV2ForSequenceClassification"},
                                 {"deberta-v2"}, {"deberta."},
                                 from_hf,        from_gguf,
                                 to_gguf,        to_hf,
                                 build,          {"classifier", "pooler"},
                                 only_erf_gelu};
  return arch;
}

}  // namespace lissom
