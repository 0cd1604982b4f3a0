#include "model/graph_builder.h"

#include <cmath>

namespace lissom {

WeightId Graph::find_weight(std::string_view name) const {
  for (size_t i = 0; i < weights.size(); ++i)
    if (weights[i].name == name) return static_cast<WeightId>(i);
  return -1;
}

ValueId GraphBuilder::value(int64_t width) {
  graph.widths.push_back(width);
  return static_cast<ValueId>(graph.widths.size() - 1);
}

WeightId GraphBuilder::weight(Weight w) {
  graph.weights.push_back(std::move(w));
  return static_cast<WeightId>(graph.weights.size() - 1);
}

ValueId GraphBuilder::embed(EmbedOp::Index index, const Names& names, int64_t rows) {
  const WeightRole role = index == EmbedOp::Index::token ? WeightRole::embedding : WeightRole::position;
  const WeightId table =
      weight({names.canonical + ".weight", {rows, config_.width}, role, {names.hf + ".weight"}});
  const ValueId out = value(config_.width);
  graph.ops.push_back(EmbedOp{index, table, out});
  return out;
}

ValueId GraphBuilder::linear(ValueId in, const LinearSpec& spec, const std::string& label) {
  const int64_t columns = graph.widths[static_cast<size_t>(in)];
  LinearOp op{in, value(spec.out), -1, -1, label};
  op.weight = weight({spec.names.canonical + ".weight",
                      {spec.out, columns},
                      WeightRole::linear,
                      {spec.names.hf + ".weight"},
                      spec.transform,
                      spec.heads});
  if (spec.bias) {
    // A bias has no columns to transpose, but its rows are permuted with its weight's.
    const bool permuted = spec.transform == HfTransform::permute_rope;
    op.bias = weight({spec.names.canonical + ".bias",
                      {spec.out},
                      WeightRole::bias,
                      {spec.names.hf + ".bias"},
                      permuted ? HfTransform::permute_rope : HfTransform::none,
                      permuted ? spec.heads : 0});
  }
  graph.ops.push_back(op);
  return op.out;
}

ValueId GraphBuilder::linear_tied(ValueId in, WeightId table, const std::string& label) {
  const ValueId out = value(graph.weights[static_cast<size_t>(table)].shape[0]);
  graph.ops.push_back(LinearOp{in, out, table, -1, label});
  return out;
}

ValueId GraphBuilder::rms_norm(ValueId in, const Names& names, int64_t group) {
  const int64_t width = graph.widths[static_cast<size_t>(in)];
  const WeightId w = weight(
      {names.canonical + ".weight", {group > 0 ? group : width}, WeightRole::norm, {names.hf + ".weight"}});
  const ValueId out = value(width);
  graph.ops.push_back(NormOp{NormOp::Kind::rms, in, out, w, -1, config_.norm_eps, group});
  return out;
}

ValueId GraphBuilder::layer_norm(ValueId in, const Names& names) {
  const int64_t width = graph.widths[static_cast<size_t>(in)];
  const WeightId w = weight({names.canonical + ".weight", {width}, WeightRole::norm, {names.hf + ".weight"}});
  const WeightId b = weight({names.canonical + ".bias", {width}, WeightRole::norm, {names.hf + ".bias"}});
  const ValueId out = value(width);
  graph.ops.push_back(NormOp{NormOp::Kind::layer, in, out, w, b, config_.norm_eps, 0});
  return out;
}

ValueId GraphBuilder::rope(ValueId in, int64_t heads) {
  const ValueId out = value(graph.widths[static_cast<size_t>(in)]);
  graph.ops.push_back(RopeOp{in, out, heads, config_.head_dim});
  return out;
}

ValueId GraphBuilder::attention(ValueId q, ValueId k, ValueId v, int64_t layer, int64_t window) {
  const ValueId out = value(config_.heads * config_.head_dim);
  const float scale = 1.0F / std::sqrt(static_cast<float>(config_.head_dim));
  graph.ops.push_back(AttentionOp{q, k, v, out, layer, config_.heads, config_.kv_heads, config_.head_dim, scale,
                                  config_.causal, window});
  return out;
}

ValueId GraphBuilder::activation(ValueId in, const std::string& name) {
  using Kind = ActivationOp::Kind;
  const Kind kind = name == "silu"        ? Kind::silu
                    : name == "gelu"      ? Kind::gelu
                    : name == "gelu_tanh" ? Kind::gelu_tanh
                    : name == "relu"      ? Kind::relu
                                          : Kind::tanh;
  const ValueId out = value(graph.widths[static_cast<size_t>(in)]);
  graph.ops.push_back(ActivationOp{kind, in, out});
  return out;
}

ValueId GraphBuilder::add(ValueId a, ValueId b) {
  const ValueId out = value(graph.widths[static_cast<size_t>(a)]);
  graph.ops.push_back(AddOp{a, b, out});
  return out;
}

ValueId GraphBuilder::mul(ValueId a, ValueId b) {
  const ValueId out = value(graph.widths[static_cast<size_t>(a)]);
  graph.ops.push_back(MulOp{a, b, out});
  return out;
}

ValueId GraphBuilder::slice(ValueId in, int64_t first, int64_t width) {
  const ValueId out = value(width);
  graph.ops.push_back(SliceOp{in, out, first});
  return out;
}

ValueId GraphBuilder::pool(ValueId in, Pooling kind) {
  const ValueId out = value(graph.widths[static_cast<size_t>(in)]);
  graph.ops.push_back(PoolOp{kind, in, out});
  return out;
}

}  // namespace lissom
