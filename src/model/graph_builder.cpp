#include "model/graph_builder.h"

#include <cassert>
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
  const auto [it, fresh] = by_name_.emplace(w.name, static_cast<WeightId>(graph.weights.size()));
  if (fresh) graph.weights.push_back(std::move(w));
  return it->second;
}

ValueId GraphBuilder::embed(EmbedOp::Index index, const Names& names, int64_t rows, int64_t first_row) {
  const WeightRole role = index == EmbedOp::Index::token ? WeightRole::embedding : WeightRole::position;
  const int64_t width = config_.embedding_width > 0 ? config_.embedding_width : config_.width;
  Weight rows_of{names.canonical + ".weight", {rows, width}, role, {names.hf + ".weight"}};
  if (first_row > 0) rows_of.transform = HfTransform::drop_rows;
  rows_of.first_row = first_row;
  const WeightId table = weight(std::move(rows_of));
  const ValueId out = value(width);
  const float scale = index == EmbedOp::Index::token ? config_.embedding_scale : 1.0F;
  graph.ops.push_back(EmbedOp{index, table, out, scale});
  return out;
}

ValueId GraphBuilder::linear(ValueId in, const LinearSpec& spec, const std::string& label) {
  const int64_t columns = graph.widths[static_cast<size_t>(in)];
  LinearOp op{in, value(spec.out), -1, -1, label};
  const bool rows_move =
      spec.transform == HfTransform::permute_rope || spec.transform == HfTransform::heads_qkv;
  op.weight = weight({spec.names.canonical + ".weight",
                      {spec.out, columns},
                      WeightRole::linear,
                      {spec.names.hf + ".weight"},
                      spec.transform,
                      spec.heads});
  if (spec.bias) {
    // A bias has no columns to transpose, but its rows move with its weight's.
    op.bias = weight({spec.names.canonical + ".bias",
                      {spec.out},
                      WeightRole::bias,
                      {spec.names.hf + ".bias"},
                      rows_move ? spec.transform : HfTransform::none,
                      rows_move ? spec.heads : 0});
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
  const WeightId w = weight({names.canonical + ".weight",
                             {group > 0 ? group : width},
                             WeightRole::norm,
                             {names.hf + ".weight"},
                             norm_transform});
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

ValueId GraphBuilder::rope(ValueId in, int64_t heads, bool local) {
  const ValueId out = value(graph.widths[static_cast<size_t>(in)]);
  graph.ops.push_back(RopeOp{in, out, heads, config_.head_dim, local});
  return out;
}

const LinearOp& GraphBuilder::maker(ValueId v) const {
  for (auto op = graph.ops.rbegin(); op != graph.ops.rend(); ++op)
    if (const auto* linear = std::get_if<LinearOp>(&*op); linear != nullptr && linear->out == v) return *linear;
  assert(false && "relative attention reads linears");
  return std::get<LinearOp>(graph.ops.front());
}

ValueId GraphBuilder::attention(ValueId q, ValueId k, ValueId v, int64_t layer, int64_t window) {
  const ValueId out = value(config_.heads * config_.head_dim);
  if (relative) {
    const LinearOp query = maker(q), key = maker(k);
    graph.ops.push_back(RelativeAttentionOp{q, k, v, out, config_.heads, config_.head_dim, query.weight,
                                            query.bias, key.weight, key.bias, *relative});
    return out;
  }
  const float scale = config_.attention_scale > 0 ? config_.attention_scale
                                                  : 1.0F / std::sqrt(static_cast<float>(config_.head_dim));
  graph.ops.push_back(AttentionOp{q, k, v, out, layer, config_.heads, config_.kv_heads, config_.head_dim, scale,
                                  config_.causal, window, config_.attention_softcap});
  return out;
}

namespace {

ActivationOp::Kind activation_kind(const std::string& name) {
  using Kind = ActivationOp::Kind;
  return name == "silu"        ? Kind::silu
         : name == "gelu"      ? Kind::gelu
         : name == "gelu_tanh" ? Kind::gelu_tanh
         : name == "relu"      ? Kind::relu
                               : Kind::tanh;
}

/// "experts.{}.w1" → "experts.7.w1".
std::string with_number(std::string text, int64_t number) {
  return text.replace(text.find("{}"), 2, std::to_string(number));
}

}  // namespace

ValueId GraphBuilder::activation(ValueId in, const std::string& name) {
  const ValueId out = value(graph.widths[static_cast<size_t>(in)]);
  graph.ops.push_back(ActivationOp{activation_kind(name), in, out});
  return out;
}

ValueId GraphBuilder::softcap(ValueId in, float cap) {
  const ValueId out = value(graph.widths[static_cast<size_t>(in)]);
  graph.ops.push_back(SoftcapOp{in, out, cap});
  return out;
}

WeightId GraphBuilder::expert_stack(const std::string& canonical, const std::string& hf, int64_t rows,
                                    int64_t cols) {
  Weight w{canonical + ".weight", {config_.experts.count, rows, cols}, WeightRole::linear, {}};
  for (int64_t e = 0; e < config_.experts.count; ++e) w.hf.push_back(with_number(hf, e) + ".weight");
  w.transform = HfTransform::concat_rows;
  return weight(std::move(w));
}

ValueId GraphBuilder::moe(ValueId in, const MoeNames& names) {
  const Experts& experts = config_.experts;
  const int64_t width = graph.widths[static_cast<size_t>(in)];
  const std::string& blk = names.canonical;
  MoeOp op{in, linear(in, {{blk + "ffn_gate_inp", names.hf_router}, experts.count}, blk + "ffn_in"), -1, -1, -1,
           -1};
  op.gate = expert_stack(blk + "ffn_gate_exps", names.hf_gate, experts.ff, width);
  op.up = expert_stack(blk + "ffn_up_exps", names.hf_up, experts.ff, width);
  op.down = expert_stack(blk + "ffn_down_exps", names.hf_down, width, experts.ff);
  if (experts.bias)
    op.score_bias = weight({blk + "exp_probs_b.bias", {experts.count}, WeightRole::bias, {names.hf_bias}});
  op.experts = experts;
  op.activation = activation_kind(config_.activation);
  op.input_label = blk + "ffn_exps_in";
  op.hidden_label = blk + "ffn_down_exps_in";
  op.out = value(width);
  graph.ops.push_back(op);
  return op.out;
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
