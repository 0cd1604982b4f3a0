#include "engine/segments.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "base/threads.h"
#include "engine/weights.h"

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

Result<Predictor> load_predictor(const Checkpoint& checkpoint, const EngineOptions& options) {
  auto kept = std::make_unique<const Checkpoint>(checkpoint);
  LISSOM_TRY(const Head head, find_head(kept->graph));
  at::set_num_threads(options.threads > 0 ? options.threads : physical_cores());
  LISSOM_TRY(Weights weights, load_weights(*kept));
  LISSOM_TRY(Forward forward, Forward::create(kept->graph, kept->config, 0));
  return Predictor{std::move(kept), std::move(forward), head, std::move(weights)};
}

Result<void> check_tokens(const Checkpoint& checkpoint, std::span<const int32_t> ids, int64_t sequences) {
  if (sequences < 1 || ids.empty() || ids.size() % static_cast<size_t>(sequences) != 0)
    return bad_input("gradients: tokens of sequences of unequal length");
  for (const int32_t id : ids)
    if (id < 0 || id >= checkpoint.config.vocab) return bad_input("gradients: a token out of the vocabulary");
  return {};
}

Tokens tokens_of(std::span<const int32_t> ids, int64_t sequences) {
  Tokens tokens{at::empty({sequences, static_cast<int64_t>(ids.size()) / sequences}, at::kLong), {}};
  std::copy(ids.begin(), ids.end(), tokens.ids.mutable_data_ptr<int64_t>());
  return tokens;
}

Weights in_bf16(const Weights& weights) {
  Weights rounded = weights;
  for (Tensor& weight : rounded)
    if (weight.defined() && weight.dim() > 1) weight = weight.to(at::kBFloat16);
  return rounded;
}

std::vector<Segment> run_segments(const Graph& graph, const Forward& forward, int last, const Weights& weights,
                                  const Tokens& tokens, bool bf16, Values& values, const OutputTap& tap) {
  std::vector<int> ends{0};
  for (const int b : graph.block_begin)
    if (b > ends.back() && b < last) ends.push_back(b);
  ends.push_back(last);
  const c10::AutoGradMode gradients(true);
  std::vector<Segment> segments(ends.size() - 1);
  for (size_t s = 0; s < segments.size(); ++s) {
    for (auto& [id, value] : values) {
      value = value.detach().requires_grad_(true);
      segments[s].in.emplace_back(id, value);
    }
    forward.run(ends[s], ends[s + 1], weights, tokens, bf16, values, tap);
    for (const auto& [id, value] : values) segments[s].out.emplace_back(id, value);
  }
  return segments;
}

void backward(std::vector<Segment>& segments, ValueId made, const Tensor& gradient) {
  Values gradients{{made, gradient}};
  for (; !segments.empty(); segments.pop_back()) {
    Segment& segment = segments.back();
    std::vector<Tensor> outputs, of_outputs;
    for (const auto& [id, value] : segment.out) {
      if (!value.requires_grad() || !gradients.contains(id)) continue;
      outputs.push_back(value);
      of_outputs.push_back(gradients.at(id));
    }
    for (size_t i = 0; i < outputs.size(); ++i) outputs[i].backward(of_outputs[i], i + 1 < outputs.size());
    gradients.clear();
    for (const auto& [id, value] : segment.in)
      if (value.grad().defined()) gradients[id] = value.grad();
  }
}

}  // namespace lissom::engine
