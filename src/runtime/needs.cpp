#include "runtime/needs.h"

namespace lissom::runtime {
namespace {

struct Collector {
  std::vector<Needs> needs;

  void vector(WeightId w) {
    if (w >= 0) needs[static_cast<size_t>(w)].vector = true;
  }
  void matrix(WeightId w) { needs[static_cast<size_t>(w)].matrix = true; }

  void operator()(const Rows& step) {
    for (const RowOp& op : step.ops) {
      if (const auto* embed = std::get_if<EmbedRow>(&op)) needs[static_cast<size_t>(embed->table)].table = true;
      if (const auto* norm = std::get_if<NormRow>(&op)) {
        vector(norm->weight);
        vector(norm->bias);
      }
    }
  }
  void operator()(const Product& step) {
    for (const Product::Term& term : step.terms) {
      matrix(term.weight);
      vector(term.bias);
    }
  }
  void operator()(const RelativeAttend& step) {
    const RelativePositions& p = step.op->positions;
    for (const WeightId w : {step.op->q_weight, step.op->k_weight}) matrix(w);
    for (const WeightId w : {step.op->q_bias, step.op->k_bias, p.table, p.norm, p.bias}) vector(w);
  }
  void operator()(const Mixture& step) {
    for (const WeightId w : {step.op->gate, step.op->up, step.op->down})
      needs[static_cast<size_t>(w)].experts = true;
    vector(step.op->score_bias);
  }
  void operator()(const Attend&) {}
  void operator()(const Compact&) {}
  void operator()(const Pool&) {}
};

}  // namespace

std::vector<Needs> needs_of(std::span<const Step> steps, size_t weights) {
  Collector collector{std::vector<Needs>(weights)};
  for (const Step& step : steps) std::visit(collector, step);
  return std::move(collector.needs);
}

const Codec& held_codec(const Codec& stored, const RuntimeOptions& options) {
  return options.bf16 && !options.exact && stored.name() == "F32" ? *find_codec("BF16") : stored;
}

}  // namespace lissom::runtime
