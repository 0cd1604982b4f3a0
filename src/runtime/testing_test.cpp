#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "codec/parts.h"
#include "lissom/codec.h"
#include "runtime/rope.h"
#include "runtime/testing.h"
#include "support/random.h"

namespace lissom::runtime::testing {
namespace {

using lissom::testing::Random;

class Builder {
 public:
  Builder(const TinyOptions& options, TinyModel& model, uint64_t seed)
      : o_(options), model_(model), random_(seed) {}

  WeightId weight(const std::string& name, const Shape& shape, WeightRole role) {
    std::vector<float> values(static_cast<size_t>(shape.elements()));
    const float scale =
        role == WeightRole::embedding ? 1.0F : 1.7F / std::sqrt(static_cast<float>(shape.cols()));
    for (float& v : values) {
      v = role == WeightRole::norm   ? 1.0F + 0.3F * random_.uniform()
          : role == WeightRole::bias ? 0.2F * random_.uniform()
                                     : scale * random_.uniform();
    }
    const bool coded = role == WeightRole::linear || role == WeightRole::embedding;
    const std::string codec = coded ? o_.codec : "F32";
    model_.source->add(name, codec, shape, values);
    const size_t index = model_.source->tensors().size() - 1;
    const auto parts = parts_of(*find_codec(codec), shape, *model_.source->bytes_[index]);
    find_codec(codec)->decode_rows(shape, *parts, 0, shape.rows(), values.data());
    model_.weights[name] = values;
    graph().weights.push_back({name, shape, role, {}, HfTransform::none, 0, false});
    return static_cast<WeightId>(graph().weights.size() - 1);
  }
  ValueId value(int64_t width) {
    graph().widths.push_back(width);
    return static_cast<ValueId>(graph().widths.size() - 1);
  }
  int64_t width(ValueId v) { return graph().widths[static_cast<size_t>(v)]; }
  Graph& graph() { return model_.checkpoint.graph; }

  ValueId embed(EmbedOp::Index index, const std::string& name, int64_t rows, int64_t width) {
    const WeightId w = weight(name, {rows, width}, WeightRole::embedding);
    const ValueId out = value(width);
    graph().ops.push_back(EmbedOp{index, w, out, index == EmbedOp::Index::token ? o_.embedding_scale : 1.0F});
    return out;
  }
  ValueId linear(ValueId in, const std::string& name, int64_t out, bool bias, const std::string& label) {
    const WeightId w = weight(name + ".weight", {out, width(in)}, WeightRole::linear);
    const WeightId b = bias ? weight(name + ".bias", {out}, WeightRole::bias) : -1;
    const ValueId v = value(out);
    graph().ops.push_back(LinearOp{in, v, w, b, label});
    return v;
  }
  ValueId norm(ValueId in, const std::string& name, int64_t group = 0) {
    const int64_t n = group > 0 ? group : width(in);
    const bool layer = o_.layer_norm && group == 0;
    const WeightId w = weight(name + ".weight", {n}, WeightRole::norm);
    const WeightId b = layer ? weight(name + ".bias", {n}, WeightRole::bias) : -1;
    const ValueId v = value(width(in));
    graph().ops.push_back(NormOp{layer ? NormOp::Kind::layer : NormOp::Kind::rms, in, v, w, b, 1e-5F, group});
    return v;
  }
  template <class T>
  ValueId pair(ValueId a, ValueId b) {
    const ValueId v = value(width(a));
    graph().ops.push_back(T{a, b, v});
    return v;
  }
  ValueId slice(ValueId in, int64_t first, int64_t n) {
    const ValueId v = value(n);
    graph().ops.push_back(SliceOp{in, v, first});
    return v;
  }
  ValueId activate(ValueId in, ActivationOp::Kind kind) {
    const ValueId v = value(width(in));
    graph().ops.push_back(ActivationOp{kind, in, v});
    return v;
  }
  ValueId rope(ValueId in, int64_t heads) {
    const ValueId v = value(width(in));
    graph().ops.push_back(RopeOp{in, v, heads, o_.head_dim, local_});
    return v;
  }
  ValueId mixture(ValueId in, const std::string& p) {
    const Experts& e = o_.experts;
    MoeOp op{in, linear(in, p + "ffn_gate_inp", e.count, false, p + "ffn_in"), -1, -1, -1, -1};
    op.gate = weight(p + "ffn_gate_exps.weight", {e.count, e.ff, width(in)}, WeightRole::linear);
    op.up = weight(p + "ffn_up_exps.weight", {e.count, e.ff, width(in)}, WeightRole::linear);
    op.down = weight(p + "ffn_down_exps.weight", {e.count, width(in), e.ff}, WeightRole::linear);
    if (e.bias) op.score_bias = weight(p + "exp_probs_b.bias", {e.count}, WeightRole::bias);
    op.experts = e;
    op.input_label = p + "ffn_exps_in";
    op.hidden_label = p + "ffn_down_exps_in";
    op.out = value(width(in));
    graph().ops.push_back(op);
    return op.out;
  }
  ValueId pool(ValueId in, Pooling kind) {
    const ValueId v = value(width(in));
    graph().ops.push_back(PoolOp{kind, in, v});
    return v;
  }
  ValueId block(ValueId x, int64_t i);

 private:
  const TinyOptions& o_;
  TinyModel& model_;
  Random random_;
  bool local_ = false;  ///< RoPE of the block that is being built
};

ValueId Builder::block(ValueId x, int64_t i) {
  const std::string p = "blk." + std::to_string(i) + ".";
  const int64_t qw = o_.heads * o_.head_dim, kw = o_.kv_heads * o_.head_dim;
  const ValueId n = norm(x, p + "attn_norm");
  ValueId q = 0, k = 0, v = 0;
  if (o_.fused_qkv) {
    const ValueId all = linear(n, p + "attn_qkv", qw + 2 * kw, true, p + "attn_in");
    q = slice(all, 0, qw);
    k = slice(all, qw, kw);
    v = slice(all, qw + kw, kw);
  } else {
    q = linear(n, p + "attn_q", qw, true, p + "attn_in");
    k = linear(n, p + "attn_k", kw, false, p + "attn_in");
    v = linear(n, p + "attn_v", kw, true, p + "attn_in");
  }
  if (o_.qk_norm) {
    q = norm(q, p + "attn_q_norm", o_.head_dim);
    k = norm(k, p + "attn_k_norm", o_.head_dim);
  }
  local_ = o_.local_rope && i == 1;
  if (o_.rope) {
    q = rope(q, o_.heads);
    k = rope(k, o_.kv_heads);
  }
  const ValueId a = value(qw);
  if (o_.position_buckets > 0) {
    const auto first = [&](const std::string& name) { return graph().find_weight(p + name); };
    const RelativePositions positions{
        weight(p + "rel_embd.weight", {2 * o_.position_buckets, qw}, WeightRole::bias),
        weight(p + "rel_norm.weight", {qw}, WeightRole::norm),
        weight(p + "rel_norm.bias", {qw}, WeightRole::bias),
        1e-5F,
        o_.position_buckets,
        20};
    graph().ops.push_back(RelativeAttentionOp{q, k, v, a, o_.heads, o_.head_dim, first("attn_q.weight"),
                                              first("attn_q.bias"), first("attn_k.weight"), -1, positions});
  } else {
    graph().ops.push_back(AttentionOp{q, k, v, a, i, o_.heads, o_.kv_heads, o_.head_dim,
                                      1.0F / std::sqrt(static_cast<float>(o_.head_dim)), o_.causal, o_.window,
                                      o_.softcap});
  }
  x = pair<AddOp>(x, linear(a, p + "attn_output", width(x), false, p + "attn_out_in"));
  const ValueId m = norm(x, p + "ffn_norm");
  if (o_.experts.count > 0) return pair<AddOp>(x, mixture(m, p));
  ValueId h = 0;
  if (o_.gated) {
    const ValueId gate = linear(m, p + "ffn_gate", o_.ff, false, p + "ffn_in");
    const ValueId up = linear(m, p + "ffn_up", o_.ff, false, p + "ffn_in");
    h = pair<MulOp>(activate(gate, ActivationOp::Kind::silu), up);
  } else {
    h = activate(linear(m, p + "ffn_up", o_.ff, true, p + "ffn_in"), ActivationOp::Kind::gelu_tanh);
  }
  return pair<AddOp>(x, linear(h, p + "ffn_down", width(x), true, p + "ffn_down_in"));
}

using Rows = std::vector<double>;  // rows × width

/// One value after the other, each as rows × width of doubles.
struct Interpreter {
  const TinyModel& model;
  std::span<const int32_t> tokens, types;
  std::vector<Rows> values;
  int64_t n = 0;
  std::vector<const float*> weights = {};

  const Graph& graph() const { return model.checkpoint.graph; }
  int64_t width(ValueId v) const { return graph().widths[static_cast<size_t>(v)]; }
  Rows& at(ValueId v) { return values[static_cast<size_t>(v)]; }
  double weight(WeightId w, int64_t i) const { return double{weights[static_cast<size_t>(w)][i]}; }
  double get(ValueId v, int64_t row, int64_t col) { return at(v)[static_cast<size_t>(row * width(v) + col)]; }
  template <class F>
  void each(ValueId out, F f) {
    at(out).resize(static_cast<size_t>(n * width(out)));
    for (int64_t r = 0; r < n; ++r)
      for (int64_t c = 0; c < width(out); ++c) at(out)[static_cast<size_t>(r * width(out) + c)] = f(r, c);
  }

  void operator()(const EmbedOp& o) {
    each(o.out, [&](int64_t r, int64_t c) {
      const int64_t id = o.index == EmbedOp::Index::token      ? tokens[static_cast<size_t>(r)]
                         : o.index == EmbedOp::Index::position ? r
                         : types.empty()                       ? 0
                                                               : types[static_cast<size_t>(r)];
      return weight(o.table, id * width(o.out) + c) * double{o.scale};
    });
  }
  void operator()(const LinearOp& o) {
    each(o.out, [&](int64_t r, int64_t c) {
      double sum = o.bias < 0 ? 0.0 : weight(o.bias, c);
      for (int64_t k = 0; k < width(o.in); ++k) sum += get(o.in, r, k) * weight(o.weight, c * width(o.in) + k);
      return sum;
    });
  }
  void operator()(const NormOp& o) {
    const int64_t group = o.group > 0 ? o.group : width(o.in);
    each(o.out, [&](int64_t r, int64_t c) {
      double mean = 0, square = 0;
      for (int64_t k = 0; k < group; ++k) mean += get(o.in, r, c / group * group + k) / double(group);
      if (o.kind == NormOp::Kind::rms) mean = 0;
      for (int64_t k = 0; k < group; ++k)
        square += std::pow(get(o.in, r, c / group * group + k) - mean, 2) / double(group);
      return (get(o.in, r, c) - mean) / std::sqrt(square + double{o.eps}) * weight(o.weight, c % group) +
             (o.bias < 0 ? 0.0 : weight(o.bias, c % group));
    });
  }
  void operator()(const RopeOp& o) {
    const Config& config = model.checkpoint.config;
    const Rope& rope = o.local ? *config.rope_local : config.rope;
    const bool halves = rope.pairing == RopePairing::halves;
    each(o.out, [&](int64_t r, int64_t c) {
      const int64_t d = c % o.head_dim, half = rope.dim / 2;
      if (d >= rope.dim) return get(o.in, r, c);
      const int64_t i = halves ? d % half : d / 2;
      const bool second = halves ? d >= half : d % 2 == 1;
      const int64_t partner = halves ? (second ? c - half : c + half) : (second ? c - 1 : c + 1);
      const double angle = double(r) * std::pow(double{rope.base}, -2.0 * double(i) / rope.dim);
      return get(o.in, r, c) * std::cos(angle) + (second ? 1 : -1) * get(o.in, r, partner) * std::sin(angle);
    });
  }
  void operator()(const AttentionOp& o) {
    each(o.out, [&](int64_t r, int64_t c) {
      const int64_t head = c / o.head_dim, kv = head / (o.heads / o.kv_heads);
      double total = 0, sum = 0;
      for (int64_t j = 0; j < n; ++j) {
        if (o.causal && (j > r || (o.window > 0 && j <= r - o.window))) continue;
        double score = 0;
        for (int64_t d = 0; d < o.head_dim; ++d)
          score += get(o.q, r, head * o.head_dim + d) * get(o.k, j, kv * o.head_dim + d);
        score *= double{o.scale};
        if (o.softcap > 0) score = double{o.softcap} * std::tanh(score / double{o.softcap});
        const double p = std::exp(score);
        total += p;
        sum += p * get(o.v, j, kv * o.head_dim + c % o.head_dim);
      }
      return sum / total;
    });
  }
  /// Row b of the normed table, projected.
  std::vector<double> position_row(const RelativeAttentionOp& o, int64_t b, WeightId matrix, WeightId bias) {
    const RelativePositions& p = o.positions;
    const int64_t w = o.heads * o.head_dim;
    double mean = 0, square = 0;
    for (int64_t c = 0; c < w; ++c) mean += weight(p.table, b * w + c) / double(w);
    for (int64_t c = 0; c < w; ++c) square += std::pow(weight(p.table, b * w + c) - mean, 2) / double(w);
    std::vector<double> row, out;
    for (int64_t c = 0; c < w; ++c)
      row.push_back((weight(p.table, b * w + c) - mean) / std::sqrt(square + double{p.eps}) *
                        weight(p.norm, c) +
                    weight(p.bias, c));
    for (int64_t r = 0; r < w; ++r) {
      double sum = bias < 0 ? 0.0 : weight(bias, r);
      for (int64_t c = 0; c < w; ++c) sum += row[static_cast<size_t>(c)] * weight(matrix, r * w + c);
      out.push_back(sum);
    }
    return out;
  }
  /// Within half of the buckets each distance has its own; beyond, as the paper's logarithm.
  static int64_t bucket_of(const RelativePositions& p, int64_t distance) {
    const int64_t half = p.buckets / 2;
    const auto mid = static_cast<double>(half), size = std::abs(static_cast<double>(distance));
    double b = size;
    if (size > mid)
      b = mid +
          std::ceil(std::log(size / mid) / std::log((double(p.max_distance) - 1) / mid) * (mid - 1) - 1e-6);
    if (distance < 0) b = -b;
    return std::clamp(static_cast<int64_t>(b) + p.buckets, int64_t{0}, 2 * p.buckets - 1);
  }
  void operator()(const RelativeAttentionOp& o) {
    std::vector<std::vector<double>> as_query, as_key;
    for (int64_t b = 0; b < 2 * o.positions.buckets; ++b) {
      as_query.push_back(position_row(o, b, o.q_weight, o.q_bias));
      as_key.push_back(position_row(o, b, o.k_weight, o.k_bias));
    }
    each(o.out, [&](int64_t r, int64_t c) {
      const int64_t head = c / o.head_dim * o.head_dim;
      double total = 0, sum = 0;
      for (int64_t j = 0; j < n; ++j) {
        const auto b = static_cast<size_t>(bucket_of(o.positions, r - j));
        double score = 0;
        for (int64_t d = head; d < head + o.head_dim; ++d) {
          const double q = get(o.q, r, d), k = get(o.k, j, d);
          score += q * k + q * as_key[b][static_cast<size_t>(d)] + k * as_query[b][static_cast<size_t>(d)];
        }
        const double p = std::exp(score / std::sqrt(3.0 * double(o.head_dim)));
        total += p;
        sum += p * get(o.v, j, c);
      }
      return sum / total;
    });
  }
  void operator()(const ActivationOp& o) {
    each(o.out, [&](int64_t r, int64_t c) {
      const double x = get(o.in, r, c);
      using Kind = ActivationOp::Kind;
      if (o.kind == Kind::silu) return x / (1 + std::exp(-x));
      if (o.kind == Kind::gelu) return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
      if (o.kind == Kind::gelu_tanh)
        return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
      return o.kind == Kind::relu ? std::max(x, 0.0) : std::tanh(x);
    });
  }
  void operator()(const SoftcapOp& o) {
    each(o.out,
         [&](int64_t r, int64_t c) { return double{o.cap} * std::tanh(get(o.in, r, c) / double{o.cap}); });
  }
  /// The weight of each expert for a row, 0 for those that are not chosen.
  std::vector<double> expert_weights(const MoeOp& o, int64_t row) {
    const Experts& e = o.experts;
    using Score = Experts::Score;
    std::vector<double> score, ranked, weight_of(static_cast<size_t>(e.count));
    double total = 0, chosen = 0;
    for (int64_t i = 0; i < e.count; ++i) total += std::exp(get(o.router, row, i));
    for (int64_t i = 0; i < e.count; ++i) {
      const double x = get(o.router, row, i);
      score.push_back(e.score == Score::softmax   ? std::exp(x) / total
                      : e.score == Score::sigmoid ? 1 / (1 + std::exp(-x))
                                                  : std::exp(x));
      ranked.push_back(score.back() + (o.score_bias < 0 ? 0.0 : weight(o.score_bias, i)));
    }
    std::vector<double> worth;
    const int64_t size = e.count / e.groups;
    for (int64_t g = 0; g < e.groups; ++g) {
      std::vector<double> own(ranked.begin() + g * size, ranked.begin() + (g + 1) * size);
      std::sort(own.rbegin(), own.rend());
      worth.push_back(e.group_by_two ? own[0] + own[1] : own[0]);
    }
    const auto better = [](const std::vector<double>& all, int64_t i) {
      return std::count_if(all.begin(), all.end(), [&](double v) { return v > all[static_cast<size_t>(i)]; });
    };
    for (int64_t i = 0; i < e.count; ++i)
      if (better(worth, i / size) >= e.groups_used) ranked[static_cast<size_t>(i)] = -1e9;
    for (int64_t i = 0; i < e.count; ++i) {
      if (better(ranked, i) >= e.used) continue;
      weight_of[static_cast<size_t>(i)] = score[static_cast<size_t>(i)];
      chosen += score[static_cast<size_t>(i)];
    }
    const bool divide = e.normalize || e.score == Score::softmax_chosen;
    for (double& w : weight_of) w *= double{e.scale} / (divide ? chosen : 1.0);
    return weight_of;
  }
  void operator()(const MoeOp& o) {
    const Experts& e = o.experts;
    const int64_t n_in = width(o.in);
    at(o.out).assign(static_cast<size_t>(n * n_in), 0.0);
    for (int64_t r = 0; r < n; ++r) {
      const auto weights_of_row = expert_weights(o, r);
      for (int64_t x = 0; x < e.count; ++x) {
        const double w = weights_of_row[static_cast<size_t>(x)], before = e.weigh_input ? w : 1.0;
        if (w == 0.0) continue;
        std::vector<double> hidden;
        for (int64_t f = 0; f < e.ff; ++f) {
          double gate = 0, up = 0;
          for (int64_t k = 0; k < n_in; ++k) {
            gate += before * get(o.in, r, k) * weight(o.gate, (x * e.ff + f) * n_in + k);
            up += before * get(o.in, r, k) * weight(o.up, (x * e.ff + f) * n_in + k);
          }
          hidden.push_back(gate / (1 + std::exp(-gate)) * up);
        }
        for (int64_t k = 0; k < n_in; ++k) {
          double sum = 0;
          for (int64_t f = 0; f < e.ff; ++f)
            sum += hidden[static_cast<size_t>(f)] * weight(o.down, (x * n_in + k) * e.ff + f);
          at(o.out)[static_cast<size_t>(r * n_in + k)] += sum * (e.weigh_input ? 1.0 : w);
        }
      }
    }
  }
  void operator()(const AddOp& o) {
    each(o.out, [&](int64_t r, int64_t c) { return get(o.a, r, c) + get(o.b, r, c); });
  }
  void operator()(const MulOp& o) {
    each(o.out, [&](int64_t r, int64_t c) { return get(o.a, r, c) * get(o.b, r, c); });
  }
  void operator()(const SliceOp& o) {
    each(o.out, [&](int64_t r, int64_t c) { return get(o.in, r, c + o.first); });
  }
  void operator()(const PoolOp& o) {
    const int64_t rows = n;
    n = 1;
    each(o.out, [&](int64_t, int64_t c) {
      double mean = 0;
      for (int64_t r = 0; r < rows; ++r) mean += get(o.in, r, c) / double(rows);
      return o.kind == Pooling::mean ? mean : get(o.in, o.kind == Pooling::cls ? 0 : rows - 1, c);
    });
  }
};

}  // namespace

void MemorySource::add(const std::string& name, const std::string& codec, const Shape& shape,
                       std::span<const float> values) {
  auto parts = encode_checked(*find_codec(codec), name, shape, values, {});
  if (!parts) std::abort();
  bytes_.push_back(std::make_shared<std::vector<std::byte>>(join_parts(*find_codec(codec), shape, *parts)));
  infos_.push_back({name, codec, shape, bytes_.back()->size()});
}

void MemorySource::remove(const std::string& name) {
  const auto index = find(name);
  infos_.erase(infos_.begin() + index);
  bytes_.erase(bytes_.begin() + index);
}

Result<TensorView> MemorySource::read(size_t index) const {
  return TensorView{infos_[index], *bytes_[index], bytes_[index]};
}

TinyModel tiny_model(const TinyOptions& o, uint64_t seed) {
  TinyModel model;
  model.source = std::make_shared<MemorySource>();
  model.checkpoint.path = "memory";
  model.checkpoint.tensors = model.source;
  Config& c = model.checkpoint.config;
  c.arch = "tiny";
  c.vocab = o.vocab;
  c.context = 64;
  c.width = 64;
  c.rope.dim = static_cast<int>(o.head_dim);
  c.rope.pairing = o.pairing;
  c.causal = o.causal;
  if (o.local_rope) {
    c.rope_local = c.rope;
    c.rope_local->base = 100.0F;
    c.rope_local->dim = static_cast<int>(o.head_dim) / 2;
  }
  Builder b(o, model, seed);
  ValueId x = b.embed(EmbedOp::Index::token, "token_embd.weight", o.vocab, c.width);
  if (!o.rope)
    x = b.pair<AddOp>(x, b.embed(EmbedOp::Index::position, "position_embd.weight", c.context, c.width));
  if (o.token_types)
    x = b.pair<AddOp>(x, b.embed(EmbedOp::Index::token_type, "token_types.weight", 2, c.width));
  for (int64_t i = 0; i < o.layers; ++i) {
    b.graph().block_begin.push_back(static_cast<int>(b.graph().ops.size()));
    x = b.block(x, i);
  }
  b.graph().block_begin.push_back(static_cast<int>(b.graph().ops.size()));
  Graph& g = b.graph();
  g.hidden = b.norm(x, "output_norm");
  if (o.pooling != Pooling::none) g.pooled = b.pool(g.hidden, o.pooling);
  if (o.classifier) {
    g.pooled = b.activate(b.linear(g.pooled, "cls", c.width, true, "cls_in"), ActivationOp::Kind::tanh);
    g.logits = b.linear(g.pooled, "cls.output", 3, true, "cls_output_in");
  } else if (o.causal && o.tied) {
    g.logits = b.value(o.vocab);
    g.ops.push_back(LinearOp{g.hidden, g.logits, 0, -1, "output_in"});
  } else if (o.causal) {
    g.logits = b.linear(g.hidden, "output", o.vocab, false, "output_in");
  }
  if (o.logit_softcap > 0) {
    const ValueId capped = b.value(o.vocab);
    g.ops.push_back(SoftcapOp{g.logits, capped, o.logit_softcap});
    g.logits = capped;
  }
  return model;
}

Reference interpret(const TinyModel& model, std::span<const int32_t> tokens, std::span<const int32_t> types) {
  Interpreter run{model, tokens, types, {}, static_cast<int64_t>(tokens.size())};
  const Graph& g = model.checkpoint.graph;
  run.values.resize(g.widths.size());
  for (const Weight& w : g.weights) run.weights.push_back(model.weights.at(w.name).data());
  for (const Op& op : g.ops) std::visit(run, op);
  const auto take = [&](ValueId v) { return v < 0 ? Rows{} : run.at(v); };
  return {take(g.logits), take(g.hidden), take(g.pooled)};
}

double relative_error(std::span<const float> a, std::span<const double> b) {
  if (a.size() != b.size() || b.empty()) return INFINITY;
  double error = 0, largest = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    const double difference = std::abs(double{a[i]} - b[i]);
    error = std::isfinite(difference) ? std::max(error, difference) : INFINITY;
    largest = std::max(largest, std::abs(b[i]));
  }
  return error / largest;
}

std::vector<int32_t> random_tokens(int64_t n, int64_t vocab, uint64_t seed) {
  Random random(seed + 77);
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < n; ++i)
    tokens.push_back(static_cast<int32_t>(random.next() % static_cast<uint64_t>(vocab)));
  return tokens;
}

}  // namespace lissom::runtime::testing
