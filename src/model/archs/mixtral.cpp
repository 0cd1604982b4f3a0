// Mixtral (Jiang et al. 2024): Mistral whose MLP is a mixture of experts. Its GGUF is "llama" with expert
// counts; llama.cpp gives the chosen experts' softmax weights that add up to 1, as this router does.

#include "model/archs/archs.h"
#include "model/fields.h"
#include "model/graph_builder.h"

namespace lissom {
namespace {

Result<Config> from_hf(const Json& json) {
  LISSOM_TRY(Config c, llama_from_hf(json));
  const JsonFields f(json);
  LISSOM_TRY(c.norm_eps, f.positive_or("rms_norm_eps", 1e-5));
  LISSOM_TRY(c.sliding_window, f.integer_or("sliding_window", 0, Bounds{0, kContext.high}));
  LISSOM_TRY(c.experts.count, f.integer("num_local_experts", kExperts));
  LISSOM_TRY(c.experts.used, f.integer_or("num_experts_per_tok", 2, Bounds{1, c.experts.count}));
  c.experts.ff = c.ff;
  c.experts.score = Experts::Score::softmax_chosen;
  return c;
}

Json to_hf(const Config& c) {
  Json json = decoder_to_hf(c);
  json["architectures"] = {"MixtralForCausalLM"};
  json["model_type"] = "mixtral";
  json["num_local_experts"] = c.experts.count;
  json["num_experts_per_tok"] = c.experts.used;
  json["sliding_window"] = c.sliding_window > 0 ? Json(c.sliding_window) : Json();
  return json;
}

}  // namespace

ValueId mixtral_mlp(GraphBuilder& b, const Config&, int64_t layer, ValueId in) {
  const std::string hf = "layers." + std::to_string(layer) + ".block_sparse_moe.";
  return b.moe(in, {.canonical = "blk." + std::to_string(layer) + ".",
                    .hf_router = hf + "gate",
                    .hf_gate = hf + "experts.{}.w1",
                    .hf_up = hf + "experts.{}.w3",
                    .hf_down = hf + "experts.{}.w2"});
}

const Architecture& mixtral_architecture() {
  static const Architecture arch = [] {
    Architecture a = llama_architecture();
    a.hf_architectures = {"MixtralForCausalLM"};
    a.hf_model_types = {"mixtral"};
    a.from_hf = from_hf;
    a.to_hf = to_hf;
    return a;
  }();
  return arch;
}

}  // namespace lissom
