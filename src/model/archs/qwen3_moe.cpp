// Qwen3's mixture of experts: Qwen3 with many small experts and a softmax before the choice.

#include "model/archs/archs.h"
#include "model/fields.h"
#include "model/graph_builder.h"

namespace lissom {
namespace {

Result<Config> from_hf(const Json& json) {
  LISSOM_TRY(Config c, decoder_from_hf(json, "qwen3moe", {}));
  const JsonFields f(json);
  for (const char* key : {"attention_bias", "use_sliding_window"}) {
    LISSOM_TRY(const bool set, f.boolean_or(key, false));
    if (set)
      return unsupported("config.json: field '" + std::string(key) + "': true is not supported for qwen3_moe");
  }
  LISSOM_TRY(const int64_t step, f.integer_or("decoder_sparse_step", 1, kLayers));
  if (step != 1 || (f.has("mlp_only_layers") && !json["mlp_only_layers"].empty()))
    return unsupported(
        "config.json: fields 'decoder_sparse_step' and 'mlp_only_layers': every layer must be a mixture of "
        "experts");
  LISSOM_TRY(c.experts.count, f.integer(f.has("num_experts") ? "num_experts" : "num_local_experts", kExperts));
  LISSOM_TRY(c.experts.used, f.integer("num_experts_per_tok", Bounds{1, c.experts.count}));
  LISSOM_TRY(c.experts.ff, f.integer("moe_intermediate_size", kFeedForward));
  LISSOM_TRY(c.experts.normalize, f.boolean_or("norm_topk_prob", false));
  return c;
}

Result<Config> from_gguf(const GgufMetadata& metadata) {
  LISSOM_TRY(Config c, decoder_from_gguf(metadata, "qwen3moe"));
  LISSOM_CHECK(read_gguf_experts(GgufFields(metadata, "qwen3moe"), c));
  c.experts.normalize = true;
  return c;
}

void to_gguf(const Config& c, GgufMetadata& metadata) {
  decoder_to_gguf(c, metadata);
  write_gguf_experts(c, metadata);
  metadata.set("qwen3moe.expert_feed_forward_length", static_cast<uint32_t>(c.experts.ff));
}

Json to_hf(const Config& c) {
  Json json = decoder_to_hf(c);
  json["architectures"] = {"Qwen3MoeForCausalLM"};
  json["model_type"] = "qwen3_moe";
  json["attention_bias"] = false;
  json["use_sliding_window"] = false;
  json["decoder_sparse_step"] = 1;
  json["mlp_only_layers"] = Json::array();
  json["num_experts"] = c.experts.count;
  json["num_experts_per_tok"] = c.experts.used;
  json["moe_intermediate_size"] = c.experts.ff;
  json["norm_topk_prob"] = c.experts.normalize;
  return json;
}

ValueId mlp(GraphBuilder& b, const Config&, int64_t layer, ValueId in) {
  const std::string hf = "layers." + std::to_string(layer) + ".mlp.";
  return b.moe(in, {.canonical = "blk." + std::to_string(layer) + ".",
                    .hf_router = hf + "gate",
                    .hf_gate = hf + "experts.{}.gate_proj",
                    .hf_up = hf + "experts.{}.up_proj",
                    .hf_down = hf + "experts.{}.down_proj"});
}

Result<Graph> build(const Config& c) {
  return build_decoder(c, {.qk_norm = DecoderTraits::QkNorm::heads, .mlp = mlp});
}

Result<void> fits_gguf(const Config& c) {
  if (c.experts.normalize) return {};
  return unsupported("config.json: field 'norm_topk_prob': llama.cpp's qwen3moe always normalizes the weights");
}

}  // namespace

const Architecture& qwen3_moe_architecture() {
  static const Architecture arch{"qwen3moe",    {"Qwen3MoeForCausalLM"},
                                 {"qwen3_moe"}, {"model."},
                                 from_hf,       from_gguf,
                                 to_gguf,       to_hf,
                                 build,         {"lm_head"},
                                 fits_gguf};
  return arch;
}

}  // namespace lissom
