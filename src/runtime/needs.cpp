#include "runtime/needs.h"

namespace lissom::runtime {

std::vector<Needs> needs_of(const Graph& graph) {
  std::vector<Needs> needs(graph.weights.size());
  const auto at = [&](WeightId id) -> Needs& { return needs[static_cast<size_t>(id)]; };
  for (const Op& op : graph.ops) {
    if (const auto* embed = std::get_if<EmbedOp>(&op)) at(embed->table).table = true;
    if (const auto* linear = std::get_if<LinearOp>(&op)) {
      at(linear->weight).matrix = true;
      if (linear->bias >= 0) at(linear->bias).vector = true;
    }
    if (const auto* moe = std::get_if<MoeOp>(&op)) {
      for (const WeightId w : {moe->gate, moe->up, moe->down}) at(w).experts = true;
      if (moe->score_bias >= 0) at(moe->score_bias).vector = true;
    }
    if (const auto* relative = std::get_if<RelativeAttentionOp>(&op)) {
      const RelativePositions& p = relative->positions;
      at(p.table).vector = at(p.norm).vector = true;
      if (p.bias >= 0) at(p.bias).vector = true;
    }
    if (const auto* norm = std::get_if<NormOp>(&op)) {
      at(norm->weight).vector = true;
      if (norm->bias >= 0) at(norm->bias).vector = true;
    }
  }
  return needs;
}

const Codec& held_codec(const Codec& stored, const RuntimeOptions& options) {
  return options.bf16 && !options.exact && stored.name() == "F32" ? *find_codec("BF16") : stored;
}

}  // namespace lissom::runtime
