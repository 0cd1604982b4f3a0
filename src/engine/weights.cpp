#include "engine/weights.h"

#include <ATen/ATen.h>

#include <set>
#include <string>

#include "lissom/codec.h"

namespace lissom::engine {
namespace {

Result<at::Tensor> load(const TensorSource& source, const Weight& weight, const Placement& placement) {
  const int64_t index = source.find(weight.name);
  if (index < 0) {
    if (weight.optional) return at::Tensor();
    return bad_input("tensor '" + weight.name + "' is missing");
  }
  LISSOM_TRY(const TensorView view, source.read(static_cast<size_t>(index)));
  const TensorInfo& info = view.info;
  const auto refuse = [&](const std::string& what) {
    return bad_input("tensor '" + weight.name + "': " + what);
  };
  if (!(info.shape == weight.shape))
    return refuse("shape " + info.shape.str() + ", expected " + weight.shape.str());
  const BlockCodec* codec = find_block_codec(info.type);
  if (codec == nullptr) return refuse("type '" + info.type + "' is not a codec of this build");
  if (info.shape.cols() % codec->block_weights() != 0 ||
      codec->components(info.shape)[0].bytes != view.data.size())
    return refuse("its " + std::to_string(view.data.size()) + " bytes are not " + info.shape.str() + " of " +
                  info.type);
  at::Tensor values = at::empty(info.shape.dims(), at::kFloat);
  codec->decode_blocks(view.data.data(), info.shape.elements() / codec->block_weights(),
                       values.mutable_data_ptr<float>());
  source.release(static_cast<size_t>(index));
  const bool rounded = placement.bf16 && values.dim() > 1;
  return values.to(placement.device, rounded ? at::kBFloat16 : at::kFloat);
}

}  // namespace

Result<Weights> load_weights(const Checkpoint& checkpoint, const Placement& placement) {
  Weights weights;
  for (const Weight& weight : checkpoint.graph.weights) {
    LISSOM_TRY(weights.emplace_back(), load(*checkpoint.tensors, weight, placement));
  }
  return weights;
}

Result<void> hold_weights(const Checkpoint& checkpoint, const Placement& placement, int first, int last,
                          Weights& weights) {
  const Graph& graph = checkpoint.graph;
  std::set<WeightId> used;
  for (int i = first; i < last; ++i)
    for (const WeightId id : weights_of(graph.ops[static_cast<size_t>(i)])) used.insert(id);
  weights.resize(graph.weights.size());
  for (size_t i = 0; i < weights.size(); ++i) {
    if (!used.contains(static_cast<WeightId>(i))) {
      weights[i].reset();
    } else if (!weights[i].defined()) {
      LISSOM_TRY(weights[i], load(*checkpoint.tensors, graph.weights[i], placement));
    }
  }
  return {};
}

}  // namespace lissom::engine
