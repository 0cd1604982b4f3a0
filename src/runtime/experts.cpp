#include "runtime/experts.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace lissom::runtime {
namespace {

constexpr float kOut = -std::numeric_limits<float>::infinity();

void softmax(std::span<float> x) {
  const float top = *std::ranges::max_element(x);
  float total = 0.0F;
  for (float& v : x) total += v = std::exp(v - top);
  for (float& v : x) v /= total;
}

/// Leaves only the best groups in `scores`.
void mask_groups(const Experts& e, std::vector<float>& scores) {
  const int64_t size = e.count / e.groups;
  std::vector<std::pair<float, int64_t>> worth;
  for (int64_t g = 0; g < e.groups; ++g) {
    std::vector<float> own(scores.begin() + g * size, scores.begin() + (g + 1) * size);
    std::ranges::sort(own, std::greater<>());
    worth.emplace_back(e.group_by_two && size > 1 ? own[0] + own[1] : own[0], g);
  }
  std::ranges::stable_sort(worth, [](const auto& a, const auto& b) { return a.first > b.first; });
  for (size_t i = static_cast<size_t>(e.groups_used); i < worth.size(); ++i)
    std::fill_n(scores.begin() + worth[i].second * size, size, kOut);
}

/// gate ← activation(gate)·up
void activate(Target target, ActivationOp::Kind kind, float* gate, const float* up, int64_t n) {
  using Kind = ActivationOp::Kind;
  if (kind == Kind::silu) return kernels::silu_mul(target, gate, up, n, gate);
  if (kind == Kind::gelu) {
    kernels::gelu(target, gate, n, gate);
  } else if (kind == Kind::gelu_tanh) {
    kernels::gelu_tanh(target, gate, n, gate);
  } else {
    for (int64_t i = 0; i < n; ++i) gate[i] = kind == Kind::relu ? std::max(gate[i], 0.0F) : std::tanh(gate[i]);
  }
  kernels::mul(target, gate, up, n, gate);
}

}  // namespace

void choose_experts(const Experts& e, std::span<const float> logits, const float* bias,
                    std::vector<Choice>& choices) {
  std::vector<float> scores(logits.begin(), logits.end());
  if (e.score == Experts::Score::softmax) softmax(scores);
  if (e.score == Experts::Score::sigmoid)
    for (float& s : scores) s = 1.0F / (1.0F + std::exp(-s));
  std::vector<float> ranked = scores;
  if (bias != nullptr)
    for (size_t i = 0; i < ranked.size(); ++i) ranked[i] += bias[i];
  if (e.groups > 1) mask_groups(e, ranked);

  std::vector<int64_t> order(ranked.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int64_t>(i);
  const auto rank = [&](int64_t i) { return ranked[static_cast<size_t>(i)]; };
  std::partial_sort(order.begin(), order.begin() + e.used, order.end(),
                    [&](int64_t a, int64_t b) { return rank(a) > rank(b) || (rank(a) == rank(b) && a < b); });
  order.resize(static_cast<size_t>(e.used));
  std::ranges::sort(order);
  std::vector<float> weights;
  weights.reserve(order.size());
  for (int64_t i : order) weights.push_back(scores[static_cast<size_t>(i)]);
  if (e.score == Experts::Score::softmax_chosen) softmax(weights);
  if (e.normalize) {
    float total = 0.0F;
    for (float w : weights) total += w;
    for (float& w : weights) w = total > 0.0F ? w / total : w;
  }
  choices.clear();
  for (size_t i = 0; i < order.size(); ++i) choices.push_back({order[i], weights[i] * e.scale});
}

void ExpertRunner::gather(const MoeOp& op, const Rows& rows, const float* bias) {
  visits_.resize(static_cast<size_t>(op.experts.count));
  for (auto& list : visits_) list.clear();
  for (int64_t r = 0; r < rows.count; ++r) {
    const auto n = static_cast<size_t>(op.experts.count);
    choose_experts(op.experts, {rows.router + r * op.experts.count, n}, bias, choices_);
    for (const Choice& c : choices_) visits_[static_cast<size_t>(c.expert)].push_back({r, c.weight});
  }
}

void ExpertRunner::run_expert(const LoadedModel& model, const MoeOp& op, const Rows& rows, int64_t expert,
                              ThreadPool& pool, const ActivationTap& tap) {
  const auto& visits = visits_[static_cast<size_t>(expert)];
  const auto m = static_cast<int64_t>(visits.size());
  const auto* gate = model.expert(op.gate, expert);
  const auto* down = model.expert(op.down, expert);
  const int64_t width = gate->cols(), ff = gate->rows();
  const auto grow = [m](std::vector<float>& v, int64_t w) {
    if (v.size() < static_cast<size_t>(m * w)) v.resize(static_cast<size_t>(m * w));
  };
  grow(in_, width);
  grow(gate_, ff);
  grow(up_, ff);
  grow(out_, width);
  for (int64_t i = 0; i < m; ++i) {
    const Visit& visit = visits[static_cast<size_t>(i)];
    const float factor = op.experts.weigh_input ? visit.weight : 1.0F;
    const float* from = rows.in + visit.row * width;
    for (int64_t k = 0; k < width; ++k) in_[static_cast<size_t>(i * width + k)] = from[k] * factor;
  }
  const std::string number = tap ? "#" + std::to_string(expert) : std::string();
  if (tap) tap(op.input_label + number, in_.data(), m, width);
  const kernels::MatmulTerm both[] = {{gate, nullptr, gate_.data()},
                                      {model.expert(op.up, expert), nullptr, up_.data()}};
  kernels::matmul(model.target_, pool, both, in_.data(), m, scratch_);
  activate(model.target_, op.activation, gate_.data(), up_.data(), m * ff);
  if (tap) tap(op.hidden_label + number, gate_.data(), m, ff);
  const kernels::MatmulTerm last[] = {{down, nullptr, out_.data()}};
  kernels::matmul(model.target_, pool, last, gate_.data(), m, scratch_);
  for (int64_t i = 0; i < m; ++i) {
    const Visit& visit = visits[static_cast<size_t>(i)];
    const float factor = op.experts.weigh_input ? 1.0F : visit.weight;
    float* to = rows.out + visit.row * width;
    const float* from = out_.data() + i * width;
    for (int64_t k = 0; k < width; ++k) to[k] += from[k] * factor;
  }
}

void ExpertRunner::run(const LoadedModel& model, const MoeOp& op, const Rows& rows, ThreadPool& pool,
                       const ActivationTap& tap) {
  gather(op, rows, model.vector(op.score_bias));
  const int64_t width = model.expert(op.gate, 0)->cols();
  std::fill(rows.out, rows.out + rows.count * width, 0.0F);
  for (int64_t e = 0; e < op.experts.count; ++e)
    if (!visits_[static_cast<size_t>(e)].empty()) run_expert(model, op, rows, e, pool, tap);
}

}  // namespace lissom::runtime
