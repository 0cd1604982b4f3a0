#include "engine/forward.h"

#include <ATen/ATen.h>

#include <cmath>
#include <limits>

#include "runtime/experts.h"
#include "runtime/relative.h"

namespace lissom::engine {
namespace {

using at::Tensor;

Tensor activate(ActivationOp::Kind kind, const Tensor& x) {
  switch (kind) {
    case ActivationOp::Kind::silu:
      return at::silu(x);
    case ActivationOp::Kind::gelu:
      return at::gelu(x);
    case ActivationOp::Kind::gelu_tanh:
      return at::gelu(x, "tanh");
    case ActivationOp::Kind::relu:
      return at::relu(x);
    case ActivationOp::Kind::tanh:
      return at::tanh(x);
  }
  return {};
}

Tensor multiply(const Tensor& x, const Tensor& weight, bool bf16) {
  if (!bf16) return at::linear(x, weight);
  return at::linear(x.to(at::kBFloat16), weight.to(at::kBFloat16)).to(at::kFloat);
}

Tensor softcapped(const Tensor& x, double cap) {
  return at::tanh(x / cap) * cap;
}

/// Which scores of query i and key j do not count: length × length, true where they do.
Tensor visible(int64_t length, bool causal, int64_t window, const at::Device& device) {
  const Tensor i = at::arange(length, device).unsqueeze(1), j = at::arange(length, device).unsqueeze(0);
  Tensor mask = at::ones({length, length}, at::TensorOptions(at::kBool).device(device));
  if (causal) mask = mask & (j <= i);
  // A causal window holds the last `window` keys; an encoder's reaches half of it to either side.
  if (window > 0 && causal) mask = mask & (i - j < window);
  if (window > 0 && !causal) mask = mask & ((i - j).abs() <= window / 2);
  return mask;
}

}  // namespace

struct Forward::Runner {
  const Forward& forward;
  const Weights& weights;
  const Tokens& tokens;
  bool bf16;
  Values& values;
  const OutputTap& tap;

  [[nodiscard]] const Tensor& at(ValueId v) const { return values.at(v); }
  [[nodiscard]] Tensor weight(WeightId w) const { return w < 0 ? Tensor() : weights[static_cast<size_t>(w)]; }
  void put(ValueId v, Tensor x) const { values[v] = std::move(x); }
  [[nodiscard]] int64_t sequences() const { return tokens.sequences(); }
  [[nodiscard]] int64_t length() const { return tokens.length(); }
  /// rows × (heads · d) → sequences × heads × length × d
  [[nodiscard]] Tensor by_head(const Tensor& x, int64_t heads) const {
    return x.view({sequences(), length(), heads, x.size(1) / heads}).transpose(1, 2);
  }
  [[nodiscard]] Tensor by_row(const Tensor& x) const {
    return x.transpose(1, 2).reshape({sequences() * length(), -1});
  }

  void operator()(const EmbedOp& op) const {
    Tensor index = tokens.ids.flatten();
    if (op.index == EmbedOp::Index::position)
      index = at::arange(length(), tokens.ids.options()).repeat({sequences()});
    if (op.index == EmbedOp::Index::token_type)
      index = tokens.types.defined() ? tokens.types.flatten() : at::zeros_like(index);
    const Tensor rows = at::embedding(weight(op.table), index).to(at::kFloat);
    put(op.out, op.scale == 1.0F ? rows : rows * double{op.scale});
  }

  void operator()(const LinearOp& op) const {
    Tensor y = multiply(at(op.in), weight(op.weight), bf16);
    if (const Tensor bias = weight(op.bias); bias.defined()) y = y + bias;
    if (tap) tap(op, y);
    put(op.out, y);
  }

  void operator()(const NormOp& op) const {
    const Tensor& x = at(op.in);
    const int64_t width = op.group > 0 ? op.group : x.size(1);
    const Tensor rows = x.reshape({-1, width}), scale = weight(op.weight), bias = weight(op.bias);
    // A per-head norm has one weight for all heads, or one for each.
    const auto shaped = [&](const Tensor& w) { return w.numel() == width ? w : w.view({-1, width}); };
    Tensor y;
    if (op.kind == NormOp::Kind::rms) {
      y = rows * at::rsqrt(rows.square().mean(-1, true) + double{op.eps});
    } else {
      y = at::layer_norm(rows, {width}, {}, {}, double{op.eps});
    }
    if (scale.defined()) {
      const Tensor w = shaped(scale);
      y = w.dim() == 1 ? y * w : (y.view({-1, w.size(0), width}) * w).view({-1, width});
    }
    if (bias.defined()) {
      const Tensor b = shaped(bias);
      y = b.dim() == 1 ? y + b : (y.view({-1, b.size(0), width}) + b).view({-1, width});
    }
    put(op.out, y.view({x.size(0), x.size(1)}));
  }

  void operator()(const RopeOp& op) const {
    const Rope& rope = op.local ? *forward.config_.rope_local : forward.config_.rope;
    const auto& f = op.local ? forward.rope_local_ : forward.rope_;
    const auto pairs = static_cast<int64_t>(f.inverse.size());
    const Tensor inverse = at::tensor(f.inverse).to(at(op.in).device());
    const Tensor position = at::arange(length(), inverse.options());
    const Tensor angle = position.unsqueeze(1) * inverse.unsqueeze(0);  // length × pairs
    const Tensor c = (angle.to(at::kDouble).cos() * double{f.magnitude}).to(at::kFloat);
    const Tensor s = (angle.to(at::kDouble).sin() * double{f.magnitude}).to(at::kFloat);
    const Tensor x = by_head(at(op.in), op.heads);
    const Tensor turned = x.narrow(-1, 0, 2 * pairs), rest = x.narrow(-1, 2 * pairs, op.head_dim - 2 * pairs);
    Tensor out;
    if (rope.pairing == RopePairing::halves) {
      const Tensor a = turned.narrow(-1, 0, pairs), b = turned.narrow(-1, pairs, pairs);
      out = at::cat({a * c - b * s, b * c + a * s, rest}, -1);
    } else {
      const Tensor split = turned.unflatten(-1, {pairs, 2});
      const Tensor a = split.select(-1, 0), b = split.select(-1, 1);
      out = at::cat({at::stack({a * c - b * s, b * c + a * s}, -1).flatten(-2), rest}, -1);
    }
    put(op.out, by_row(out));
  }

  void operator()(const AttentionOp& op) const {
    Tensor q = by_head(at(op.q), op.heads), k = by_head(at(op.k), op.kv_heads),
           v = by_head(at(op.v), op.kv_heads);
    if (bf16) {
      q = q.to(at::kBFloat16);
      k = k.to(at::kBFloat16);
      v = v.to(at::kBFloat16);
    }
    const bool windowed = op.window > 0 && op.window < length();
    Tensor out;
    if (op.softcap > 0) {
      const int64_t share = op.heads / op.kv_heads;
      k = k.repeat_interleave(share, 1);
      v = v.repeat_interleave(share, 1);
      const Tensor scores =
          softcapped(at::matmul(q, k.transpose(-1, -2)).to(at::kFloat) * double{op.scale}, double{op.softcap});
      const Tensor mask = visible(length(), op.causal, windowed ? op.window : 0, q.device());
      const Tensor share_of =
          at::softmax(scores.masked_fill(~mask, -std::numeric_limits<float>::infinity()), -1);
      out = at::matmul(share_of.to(v.scalar_type()), v);
    } else {
      std::optional<Tensor> mask;
      if (windowed) mask = visible(length(), op.causal, op.window, q.device());
      out = at::scaled_dot_product_attention(q, k, v, mask, 0.0, op.causal && !windowed, double{op.scale},
                                             op.heads != op.kv_heads);
    }
    put(op.out, by_row(out.to(at::kFloat)));
  }

  void operator()(const RelativeAttentionOp& op) const {
    const RelativePositions& p = op.positions;
    const Tensor table = weight(p.table).to(at::kFloat);
    const Tensor normed = at::layer_norm(table, {table.size(1)}, weight(p.norm), weight(p.bias), double{p.eps});
    const auto projected = [&](WeightId w, WeightId b) {  // heads × 2·buckets × head_dim
      Tensor y = at::linear(normed, weight(w).to(at::kFloat),
                            weight(b).defined() ? std::optional<Tensor>(weight(b)) : std::nullopt);
      return y.view({-1, op.heads, op.head_dim}).transpose(0, 1);
    };
    const int64_t n = length();
    std::vector<int64_t> buckets;
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < n; ++j)
        buckets.push_back(runtime::relative_bucket(i - j, p.buckets, p.max_distance));
    const Tensor bucket = at::tensor(buckets).to(table.device()).view({n, n});
    const Tensor q = by_head(at(op.q), op.heads), k = by_head(at(op.k), op.heads),
                 v = by_head(at(op.v), op.heads);
    const Tensor index = bucket.expand({sequences(), op.heads, n, n});
    const Tensor of_query =
        at::matmul(q, projected(op.k_weight, op.k_bias).transpose(-1, -2)).gather(-1, index);
    const Tensor of_keys = at::matmul(k, projected(op.q_weight, op.q_bias).transpose(-1, -2))
                               .gather(-1, index.transpose(-1, -2))
                               .transpose(-1, -2);
    const double scale = 1.0 / std::sqrt(3.0 * static_cast<double>(op.head_dim));
    const Tensor scores = (at::matmul(q, k.transpose(-1, -2)) + of_query + of_keys) * scale;
    put(op.out, by_row(at::matmul(at::softmax(scores, -1), v)));
  }

  void operator()(const ActivationOp& op) const { put(op.out, activate(op.kind, at(op.in))); }
  void operator()(const SoftcapOp& op) const { put(op.out, softcapped(at(op.in), double{op.cap})); }
  void operator()(const AddOp& op) const { put(op.out, at(op.a) + at(op.b)); }
  void operator()(const MulOp& op) const { put(op.out, at(op.a) * at(op.b)); }
  void operator()(const SliceOp& op) const {
    const int64_t width = forward.graph_.widths[static_cast<size_t>(op.out)];
    put(op.out, at(op.in).narrow(1, op.first, width).contiguous());
  }

  /// Which rows pass which expert is decided outside of the derivative, as every router has it; the weights of
  /// the chosen are inside.
  void operator()(const MoeOp& op) const {
    const Experts& e = op.experts;
    const Tensor &x = at(op.in), logits = at(op.router);
    const Tensor plain = logits.detach().to(at::kCPU).contiguous();
    const Tensor bias =
        weight(op.score_bias).defined() ? weight(op.score_bias).detach().to(at::kCPU).contiguous() : Tensor();
    const int64_t rows = x.size(0);
    std::vector<int64_t> chosen;
    std::vector<std::vector<int64_t>> row_of(static_cast<size_t>(e.count)),
        slot_of(static_cast<size_t>(e.count));
    std::vector<runtime::Choice> choices;
    for (int64_t r = 0; r < rows; ++r) {
      runtime::choose_experts(e, {plain.const_data_ptr<float>() + r * e.count, static_cast<size_t>(e.count)},
                              bias.defined() ? bias.const_data_ptr<float>() : nullptr, choices);
      for (size_t slot = 0; slot < choices.size(); ++slot) {
        const auto expert = static_cast<size_t>(choices[slot].expert);
        chosen.push_back(choices[slot].expert);
        row_of[expert].push_back(r);
        slot_of[expert].push_back(static_cast<int64_t>(slot));
      }
    }
    const Tensor index = at::tensor(chosen).to(x.device()).view({rows, e.used});
    Tensor share = logits;
    if (e.score == Experts::Score::softmax) share = at::softmax(logits, -1);
    if (e.score == Experts::Score::sigmoid) share = at::sigmoid(logits);
    share = share.gather(1, index);
    if (e.score == Experts::Score::softmax_chosen) share = at::softmax(share, -1);
    if (e.normalize) share = share / share.sum(-1, true);
    share = share * double{e.scale};
    Tensor out = at::zeros_like(x);
    for (int64_t i = 0; i < e.count; ++i) {
      const auto n = static_cast<size_t>(i);
      if (row_of[n].empty()) continue;
      const Tensor where = at::tensor(row_of[n]).to(x.device()), slot = at::tensor(slot_of[n]).to(x.device());
      const Tensor factor = share.index({where, slot}).unsqueeze(1);
      Tensor h = x.index_select(0, where);
      if (e.weigh_input) h = h * factor;
      h = activate(op.activation, multiply(h, weight(op.gate)[i], bf16)) * multiply(h, weight(op.up)[i], bf16);
      h = multiply(h, weight(op.down)[i], bf16);
      out = out.index_add(0, where, e.weigh_input ? h : h * factor);
    }
    put(op.out, out);
  }

  void operator()(const PoolOp& op) const {
    const Tensor x = at(op.in).view({sequences(), length(), -1});
    if (op.kind == Pooling::mean) return put(op.out, x.mean(1));
    put(op.out, x.select(1, op.kind == Pooling::last ? length() - 1 : 0));
  }
};

Forward::Forward(const Graph& graph, const Config& config) : graph_(graph), config_(config) {
  last_use_.assign(graph.widths.size(), -1);
  for (size_t i = 0; i < graph.ops.size(); ++i)
    for (const ValueId v : inputs_of(graph.ops[i])) last_use_[static_cast<size_t>(v)] = static_cast<int>(i);
  for (const ValueId v : {graph.logits, graph.hidden, graph.pooled})
    if (v >= 0) last_use_[static_cast<size_t>(v)] = static_cast<int>(graph.ops.size());
}

Result<Forward> Forward::create(const Graph& graph, const Config& config, int64_t positions) {
  Forward forward(graph, config);
  for (const Op& op : graph.ops) {
    const auto* rope = std::get_if<RopeOp>(&op);
    if (rope == nullptr) continue;
    auto& frequencies = rope->local ? forward.rope_local_ : forward.rope_;
    if (!frequencies.inverse.empty()) continue;
    LISSOM_TRY(frequencies,
               runtime::rope_frequencies(rope->local ? *config.rope_local : config.rope, positions));
  }
  return forward;
}

void Forward::run(int first, int last, const Weights& weights, const Tokens& tokens, bool bf16, Values& values,
                  const OutputTap& tap) const {
  const Runner runner{*this, weights, tokens, bf16, values, tap};
  for (int i = first; i < last; ++i) {
    const Op& op = graph_.ops[static_cast<size_t>(i)];
    std::visit(runner, op);
    for (const ValueId v : inputs_of(op))
      if (last_use_[static_cast<size_t>(v)] == i) values.erase(v);
  }
}

}  // namespace lissom::engine
