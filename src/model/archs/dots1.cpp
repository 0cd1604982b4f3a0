// dots.llm1 (rednote-hilab 2025): DeepSeek V3's router (sigmoid scores, a bias that only chooses, groups of
// experts, a shared expert, dense layers at the beginning) with Qwen3's attention.

#include "model/archs/archs.h"
#include "model/fields.h"
#include "model/graph_builder.h"

namespace lissom {

Result<void> deepseek_experts_from_hf(const JsonFields& f, Config& c) {
  Experts& e = c.experts;
  LISSOM_TRY(e.count,
             f.integer(f.has("n_routed_experts") ? "n_routed_experts" : "num_local_experts", kExperts));
  LISSOM_TRY(e.used, f.integer("num_experts_per_tok", Bounds{1, e.count}));
  LISSOM_TRY(e.ff, f.integer("moe_intermediate_size", kFeedForward));
  LISSOM_TRY(const int64_t shared, f.integer_or("n_shared_experts", 1, Bounds{1, 1024}));
  e.shared_ff = shared * e.ff;
  LISSOM_TRY(e.dense_first, f.integer_or("first_k_dense_replace", 0, Bounds{0, c.layers}));
  LISSOM_TRY(e.groups, f.integer_or("n_group", 1, Bounds{1, e.count}));
  LISSOM_TRY(e.groups_used, f.integer_or("topk_group", 1, Bounds{1, e.groups}));
  if (e.count % e.groups != 0 || e.used > e.count / e.groups * e.groups_used)
    return bad_input("config.json: fields 'n_group' and 'topk_group': " + std::to_string(e.groups) +
                     " groups do not hold the experts that are to be chosen");
  LISSOM_TRY(e.normalize, f.boolean_or("norm_topk_prob", false));
  LISSOM_TRY(e.scale, f.positive_or("routed_scaling_factor", 1.0));
  e.score = Experts::Score::sigmoid;
  e.bias = e.group_by_two = true;
  return {};
}

void deepseek_experts_to_hf(const Config& c, Json& json) {
  const Experts& e = c.experts;
  json["n_routed_experts"] = e.count;
  json["num_experts_per_tok"] = e.used;
  json["moe_intermediate_size"] = e.ff;
  json["n_shared_experts"] = e.shared_ff / e.ff;
  json["first_k_dense_replace"] = e.dense_first;
  json["n_group"] = e.groups;
  json["topk_group"] = e.groups_used;
  json["norm_topk_prob"] = e.normalize;
  json["routed_scaling_factor"] = e.scale;
}

ValueId deepseek_mlp(GraphBuilder& b, const Config& c, int64_t layer, ValueId in) {
  const std::string blk = "blk." + std::to_string(layer) + ".",
                    hf = "layers." + std::to_string(layer) + ".mlp.";
  if (layer < c.experts.dense_first) return gated_mlp(b, c, in, blk, "", hf, c.ff, false);
  const ValueId routed = b.moe(in, {.canonical = blk,
                                    .hf_router = hf + "gate",
                                    .hf_gate = hf + "experts.{}.gate_proj",
                                    .hf_up = hf + "experts.{}.up_proj",
                                    .hf_down = hf + "experts.{}.down_proj",
                                    .hf_bias = hf + "gate.e_score_correction_bias"});
  return b.add(routed, gated_mlp(b, c, in, blk, "_shexp", hf + "shared_experts.", c.experts.shared_ff, false));
}

namespace {

Result<Config> from_hf(const Json& json) {
  LISSOM_TRY(Config c, decoder_from_hf(json, "dots1", {}));
  const JsonFields f(json);
  LISSOM_TRY(const bool bias, f.boolean_or("attention_bias", false));
  if (bias) return unsupported("config.json: field 'attention_bias': true is not supported for dots1");
  LISSOM_TRY(const int64_t full, f.integer_or("max_window_layers", c.layers, Bounds{0, 1 << 20}));
  if (f.has("sliding_window") && full < c.layers)
    return unsupported(
        "config.json: field 'max_window_layers': windows in some layers are not supported for dots1");
  LISSOM_CHECK(deepseek_experts_from_hf(f, c));
  return c;
}

Result<Config> from_gguf(const GgufMetadata& metadata) {
  LISSOM_TRY(Config c, decoder_from_gguf(metadata, "dots1"));
  LISSOM_CHECK(read_gguf_experts(GgufFields(metadata, "dots1"), c));
  c.experts.bias = c.experts.group_by_two = true;
  return c;
}

void to_gguf(const Config& c, GgufMetadata& metadata) {
  decoder_to_gguf(c, metadata);
  write_gguf_experts(c, metadata);
  const auto set = [&](const char* key, int64_t v) { metadata.set("dots1." + std::string(key), uint32_t(v)); };
  set("expert_feed_forward_length", c.experts.ff);
  set("expert_shared_count", c.experts.shared_ff / c.experts.ff);
  set("leading_dense_block_count", c.experts.dense_first);
  set("expert_gating_func", c.experts.score == Experts::Score::sigmoid ? 2 : 1);
  metadata.set("dots1.expert_weights_scale", c.experts.scale);
  metadata.set("dots1.expert_weights_norm", c.experts.normalize);
  if (c.experts.groups == 1) return;
  set("expert_group_count", c.experts.groups);
  set("expert_group_used_count", c.experts.groups_used);
}

Json to_hf(const Config& c) {
  Json json = decoder_to_hf(c);
  deepseek_experts_to_hf(c, json);
  json["architectures"] = {"Dots1ForCausalLM"};
  json["model_type"] = "dots1";
  json["attention_bias"] = false;
  json["sliding_window"] = Json();
  return json;
}

Result<Graph> build(const Config& c) {
  return build_decoder(c, {.qk_norm = DecoderTraits::QkNorm::heads, .mlp = deepseek_mlp});
}

Result<void> fits_gguf(const Config& c) {
  if (c.tied_embeddings)
    return unsupported(
        "config.json: field 'tie_word_embeddings': llama.cpp's dots1 wants an output of its own");
  if (c.kv_heads != c.heads)
    return unsupported(
        "config.json: field 'num_key_value_heads': llama.cpp's dots1 has a key for every query head");
  return {};
}

}  // namespace

const Architecture& dots1_architecture() {
  static const Architecture arch{
      "dots1", {"Dots1ForCausalLM"}, {"dots1"}, {"model."}, from_hf, from_gguf, to_gguf, to_hf,
      build,   {"lm_head"},          fits_gguf};
  return arch;
}

}  // namespace lissom
