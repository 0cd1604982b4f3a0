#include "engine/segments.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "base/threads.h"

namespace lissom::engine {

using at::Tensor;

Result<Head> find_head(const Graph& graph) {
  const auto refuse = [] { return unsupported("gradients need a model that predicts the next token"); };
  if (graph.logits < 0) return refuse();
  Head head;
  ValueId made = graph.logits;
  for (auto i = static_cast<int>(graph.ops.size()) - 1; i >= 0; --i) {
    const Op& op = graph.ops[static_cast<size_t>(i)];
    if (const auto* cap = std::get_if<SoftcapOp>(&op); cap != nullptr && cap->out == made) {
      head.cap = double{cap->cap};
      made = cap->in;
    }
    const auto* linear = std::get_if<LinearOp>(&op);
    if (linear == nullptr || linear->out != made) continue;
    head.op = i;
    head.in = linear->in;
    head.weight = linear->weight;
    head.bias = linear->bias;
    return head;
  }
  return refuse();
}

Tensor logits(const Head& head, const Tensor& hidden, const Weights& weights, bool bf16) {
  const auto compute = bf16 ? at::kBFloat16 : at::kFloat;
  Tensor y =
      at::linear(hidden.to(compute), weights[static_cast<size_t>(head.weight)].to(compute)).to(at::kFloat);
  if (head.bias >= 0 && weights[static_cast<size_t>(head.bias)].defined())
    y += weights[static_cast<size_t>(head.bias)];
  if (head.cap > 0) y = at::tanh(y / head.cap) * head.cap;
  return y;
}

Result<Predictor> make_predictor(const Checkpoint& checkpoint, const at::Device& device,
                                 const EngineOptions& options) {
  auto kept = std::make_unique<const Checkpoint>(checkpoint);
  LISSOM_TRY(const Head head, find_head(kept->graph));
  at::set_num_threads(options.threads > 0 ? options.threads : physical_cores());
  LISSOM_TRY(Forward forward, Forward::create(kept->graph, kept->config, 0));
  return Predictor{std::move(kept), std::move(forward), head, device};
}

Result<void> check_tokens(const Checkpoint& checkpoint, std::span<const int32_t> ids, int64_t sequences) {
  if (sequences < 1 || ids.empty() || ids.size() % static_cast<size_t>(sequences) != 0)
    return bad_input("gradients: tokens of sequences of unequal length");
  for (const int32_t id : ids)
    if (id < 0 || id >= checkpoint.config.vocab) return bad_input("gradients: a token out of the vocabulary");
  return {};
}

Tokens tokens_of(std::span<const int32_t> ids, int64_t sequences, const at::Device& device) {
  const Tensor rows = at::empty({sequences, static_cast<int64_t>(ids.size()) / sequences}, at::kLong);
  std::copy(ids.begin(), ids.end(), rows.mutable_data_ptr<int64_t>());
  return {rows.to(device), {}};
}

Weights in_bf16(const Weights& weights) {
  Weights rounded = weights;
  for (Tensor& weight : rounded)
    if (weight.defined() && weight.dim() > 1) weight = weight.to(at::kBFloat16);
  return rounded;
}

std::vector<Segment> cut(const Graph& graph, int last) {
  std::vector<Segment> segments{{0, last}};
  for (const int b : graph.block_begin)
    if (b > segments.back().first && b < last) {
      segments.back().last = b;
      segments.push_back({b, last});
    }
  return segments;
}

void Segment::run(const Forward& forward, const Weights& weights, const Tokens& tokens, bool bf16,
                  Values& values, const OutputTap& tap) {
  const c10::AutoGradMode gradients(true);
  for (auto& [id, value] : values) {
    value = value.detach().requires_grad_(true);
    in.emplace_back(id, value);
  }
  forward.run(first, last, weights, tokens, bf16, values, tap);
  out.assign(values.begin(), values.end());
}

void Segment::backward(Values& gradients) {
  std::vector<Tensor> outputs, of_outputs;
  for (const auto& [id, value] : out) {
    if (!value.requires_grad() || !gradients.contains(id)) continue;
    outputs.push_back(value);
    of_outputs.push_back(gradients.at(id));
  }
  for (size_t i = 0; i < outputs.size(); ++i) outputs[i].backward(of_outputs[i], i + 1 < outputs.size());
  gradients.clear();
  for (const auto& [id, value] : in)
    if (value.grad().defined()) gradients[id] = value.grad();
  in.clear();
  out.clear();
}

}  // namespace lissom::engine
