#include "compress/algorithms/fold/uses.h"

#include "lissom/codec.h"

namespace lissom {
namespace {

constexpr double kFewestBits = 16;

}  // namespace

Uses::Uses(const Checkpoint& checkpoint)
    : checkpoint_(checkpoint),
      makers_(checkpoint.graph.widths.size(), -1),
      readers_(checkpoint.graph.widths.size()),
      uses_(checkpoint.graph.weights.size()) {
  const Graph& graph = checkpoint.graph;
  for (size_t i = 0; i < graph.ops.size(); ++i) {
    makers_[static_cast<size_t>(output_of(graph.ops[i]))] = static_cast<int64_t>(i);
    for (const ValueId value : inputs_of(graph.ops[i])) readers_[static_cast<size_t>(value)].push_back(i);
    for (const WeightId weight : weights_of(graph.ops[i])) ++uses_[static_cast<size_t>(weight)];
  }
}

const Op* Uses::maker(ValueId value) const {
  const int64_t op = makers_[static_cast<size_t>(value)];
  return op < 0 ? nullptr : &checkpoint_.graph.ops[static_cast<size_t>(op)];
}

bool Uses::present(WeightId weight) const {
  return weight >= 0 &&
         checkpoint_.tensors->find(checkpoint_.graph.weights[static_cast<size_t>(weight)].name) >= 0;
}

std::string Uses::obstacle(WeightId weight) const {
  if (weight < 0) return "a weight is missing";
  const std::string& name = checkpoint_.graph.weights[static_cast<size_t>(weight)].name;
  const int64_t index = checkpoint_.tensors->find(name);
  if (index < 0) return name + " is missing";
  if (uses_[static_cast<size_t>(weight)] > 1) return name + " is used in several places";
  const TensorInfo& info = checkpoint_.tensors->tensors()[static_cast<size_t>(index)];
  const Codec* codec = find_codec(info.type);
  if (codec == nullptr || codec->components(info.shape).size() != 1 ||
      codec->bits_per_weight(info.shape) < kFewestBits)
    return name + " is quantized in the source";
  return "";
}

}  // namespace lissom
