#include "runtime/executor.h"

#include <algorithm>
#include <cstring>

namespace lissom::runtime {

Result<void> Executor::prepare(int64_t context, int64_t sequences) {
  const Program& p = model_.program_;
  if (sequences < 1 || sequences > 65536)
    return bad_input("a session of " + std::to_string(sequences) + " sequences (1 … 65536)");
  if (context < sequences || context > INT32_MAX)
    return bad_input("a context of " + std::to_string(context) + " positions for " + std::to_string(sequences) +
                     " sequences");
  lengths_.assign(static_cast<size_t>(sequences), 0);
  limits_.causal = p.has_cache;
  limits_.positions = context / sequences;
  limits_.vocab = INT32_MAX;
  for (const Op& op : model_.graph_.ops) {
    const auto* embed = std::get_if<EmbedOp>(&op);
    if (embed == nullptr) continue;
    const int64_t rows = model_.graph_.weights[static_cast<size_t>(embed->table)].shape[0];
    if (embed->index == EmbedOp::Index::token) limits_.vocab = std::min(limits_.vocab, rows);
    if (embed->index == EmbedOp::Index::position) limits_.position_rows = rows;
    if (embed->index == EmbedOp::Index::token_type) limits_.token_types = rows;
  }
  if (p.uses_rope) {
    LISSOM_TRY(auto frequencies, rope_frequencies(model_.config_.rope, limits_.positions));
    rope_ = RopeTable(std::move(frequencies));
  }
  if (p.uses_local_rope) {
    LISSOM_TRY(auto frequencies, rope_frequencies(*model_.config_.rope_local, limits_.positions));
    rope_local_ = RopeTable(std::move(frequencies));
  }
  if (p.kv_layers == 0) return {};
  const kernels::CacheType type = cache_type(p.has_cache, model_.options_);
  // An encoder's keys and values live for one layer only.
  const Cache::Dims dims{p.has_cache ? p.kv_layers : 1, sequences, limits_.positions, p.kv_heads, p.head_dim};
  LISSOM_TRY(cache_, Cache::make(dims, type));
  return {};
}

Result<void> Executor::begin(const Batch& batch) {
  LISSOM_CHECK(check(batch));
  const Program& p = model_.program_;
  n_rows_ = token_rows_ = rows_.count();
  const int64_t end = 1 + int64_t{*std::max_element(rows_.positions.begin(), rows_.positions.end())};
  if (p.uses_rope) rope_.extend(end);
  if (p.uses_local_rope) rope_local_.extend(end);
  buffers_.resize(p.slots.size());
  const auto wanted = static_cast<int64_t>(rows_.wanted.size());
  for (size_t i = 0; i < p.slots.size(); ++i) {
    const int64_t rows = p.slots[i].late ? wanted : n_rows_;
    LISSOM_CHECK(buffers_[i].grow(rows, p.slots[i].width));
  }
  return {};
}

void Executor::run(std::span<const Step> steps) {
  for (const Step& step : steps) {
    std::visit([this](const auto& s) { execute(s); }, step);
    if (n_rows_ == 0) break;  // no row is wanted
  }
}

void Executor::execute(const Rows& step) {
  RowContext context{model_, rows_, rope_, rope_local_, cache_ ? &*cache_ : nullptr, buffers_};
  const int64_t grain = std::clamp<int64_t>(n_rows_ / (8 * pool_.size()), 4, 32);
  const auto& ops = step.ops;
  pool_.parallel_for(n_rows_, grain, [&context, &ops](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) run_row(context, ops, r);
  });
}

void Executor::execute(const Product& step) {
  const float* x = at(step.in);
  if (tap_ && step.first_of_label) {
    tap_(step.label, x, n_rows_, step.in.width);
    if (show_attended_ && step.makes_keys_or_values)
      attended_.keep(step.label, x, n_rows_, step.in.width, rows_);
  }
  if (step.terms.empty()) return;  // only looked at
  terms_.clear();
  for (const Product::Term& term : step.terms)
    terms_.push_back({model_.matrix(term.weight), model_.vector(term.bias), at(term.out)});
  rounded_ = std::ranges::any_of(
      terms_, [&](const auto& t) { return t.weights->input(n_rows_) != kernels::Input::f32; });
  kernels::matmul(model_.target_, pool_, terms_, x, n_rows_, scratch_);
}

void Executor::execute(const Attend& step) {
  for (const Segment& s : rows_.segments) {
    kernels::AttentionArgs a{};
    a.q = at(step.q) + s.first * step.q.stride;
    a.out = at(step.out) + s.first * step.out.stride;
    a.q_stride = step.q.stride;
    a.out_stride = step.out.stride;
    a.queries = s.count;
    a.positions = rows_.positions.data() + s.first;
    const int64_t layer = step.causal ? step.layer : 0;
    a.keys = cache_->keys(layer, s.sequence);
    a.values = cache_->values(layer, s.sequence);
    a.head_stride = cache_->head_stride();
    // Rows of a sequence ascend, so the last one sees the most.
    a.cached = step.causal ? int64_t{a.positions[s.count - 1]} + 1 : s.count;
    a.heads = step.heads;
    a.kv_heads = step.kv_heads;
    a.head_dim = step.head_dim;
    a.scale = step.scale;
    a.causal = step.causal;
    a.window = step.window;
    a.cache = cache_->type();
    a.softcap = step.softcap;
    a.rounded = rounded_;
    kernels::attention(model_.target_, pool_, a, scratch_);
    if (tap_ && show_attended_) attended_.show(model_.target_, pool_, step, s, a, tap_);
  }
}

void Executor::execute(const RelativeAttend& step) {
  relative_.run(model_, *step.op, rows_.segments, {at(step.q), at(step.k), at(step.v), at(step.out)}, pool_);
}

void Executor::execute(const Mixture& step) {
  experts_.run(model_, *step.op, {at(step.in), at(step.router), n_rows_, at(step.out)}, pool_, tap_);
}

void Executor::execute(const Compact& step) {
  const auto wanted = static_cast<int64_t>(rows_.wanted.size());
  if (wanted == n_rows_) return;
  for (const View& v : step.live) {
    float* base = at(v);
    for (int64_t i = 0; i < wanted; ++i) {
      const int64_t from = rows_.wanted[static_cast<size_t>(i)];
      if (from != i)
        std::memcpy(base + i * v.stride, base + from * v.stride, static_cast<size_t>(v.stride) * 4);
    }
  }
  rows_.keep_wanted();
  n_rows_ = token_rows_ = wanted;
}

void Executor::execute(const Pool& step) {
  float* out = at(step.out);
  for (size_t i = 0; i < rows_.segments.size(); ++i, out += step.out.stride) {
    const Segment& s = rows_.segments[i];
    const float* in = at(step.in) + s.first * step.in.stride;
    if (step.kind != Pooling::mean) {
      const int64_t row = step.kind == Pooling::last ? s.count - 1 : 0;
      std::memcpy(out, in + row * step.in.stride, static_cast<size_t>(step.in.width) * 4);
      continue;
    }
    for (int64_t k = 0; k < step.in.width; ++k) {
      double sum = 0;
      for (int64_t r = 0; r < s.count; ++r) sum += double{in[r * step.in.stride + k]};
      out[k] = static_cast<float>(sum / static_cast<double>(s.count));
    }
  }
  n_rows_ = static_cast<int64_t>(rows_.segments.size());
}

}  // namespace lissom::runtime
