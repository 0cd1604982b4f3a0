#include "runtime/attended.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace lissom::runtime {
namespace {

constexpr const char *kValues = "@values", *kKeys = "@keys";

const Op* maker_of(const Graph& graph, ValueId value) {
  for (const Op& op : graph.ops)
    if (output_of(op) == value) return &op;
  return nullptr;
}

}  // namespace

const LinearOp* linear_of_values(const Graph& graph, const AttentionOp& op) {
  return std::get_if<LinearOp>(maker_of(graph, op.v));
}

const LinearOp* linear_of_keys(const Graph& graph, const AttentionOp& op) {
  const Op* maker = maker_of(graph, op.k);
  while (maker != nullptr) {
    if (const auto* rope = std::get_if<RopeOp>(maker))
      maker = maker_of(graph, rope->in);
    else if (const auto* norm = std::get_if<NormOp>(maker))
      maker = maker_of(graph, norm->in);
    else
      break;
  }
  return std::get_if<LinearOp>(maker);
}

bool is_weighed(const std::string& label) {
  return label.ends_with(kValues) || label.ends_with(kKeys);
}

std::string counted_label(const Graph& graph, const LinearOp& linear) {
  for (const Op& op : graph.ops) {
    const auto* attention = std::get_if<AttentionOp>(&op);
    if (attention == nullptr) continue;
    if (linear_of_values(graph, *attention) == &linear) return linear.input_label + kValues;
    if (linear_of_keys(graph, *attention) == &linear) return linear.input_label + kKeys;
  }
  return linear.input_label;
}

void Attended::keep(const std::string& label, const float* x, int64_t n, int64_t width, const RowSet& rows) {
  kept_.label = label;
  kept_.width = width;
  kept_.x.assign(x, x + n * width);
  kept_.segments.clear();
  for (const Segment& s : rows.segments)
    if (rows.positions[static_cast<size_t>(s.first)] == 0) kept_.segments.push_back(s);
}

const float* Attended::kept(const std::string& label, const Segment& segment, int64_t count) const {
  const auto found = std::ranges::find(kept_.segments, segment.sequence, &Segment::sequence);
  const bool all = found != kept_.segments.end() && found->count == count;
  return all && !label.empty() && label == kept_.label ? kept_.x.data() + found->first * kept_.width : nullptr;
}

/// Σ_t a_qt·x_t to attended_, [query][head][width], with x in the place of the values, as many of its columns
/// at a time as a head has.
void Attended::attend(Target target, ThreadPool& pool, kernels::AttentionArgs args, const float* x,
                      int64_t width) {
  const int64_t size = args.head_dim, bytes = kernels::cache_row_bytes(args.cache, size);
  cached_.resize(static_cast<size_t>(args.kv_heads * args.head_stride) + 64);
  out_.resize(static_cast<size_t>(args.queries * args.heads * size));
  attended_.resize(static_cast<size_t>(args.queries * args.heads * width));
  args.values = cached_.data();
  args.out = out_.data();
  args.out_stride = args.heads * size;
  std::vector<float> columns(static_cast<size_t>(size));
  for (int64_t first = 0; first < width; first += size) {
    const int64_t n = std::min(size, width - first);
    for (int64_t t = 0; t < args.cached; ++t) {
      std::fill(std::copy_n(x + t * width + first, n, columns.begin()), columns.end(), 0.0F);
      std::byte* row = cached_.data() + t * bytes;
      kernels::cache_store(target, args.cache, columns.data(), size, row);
      for (int64_t h = 1; h < args.kv_heads; ++h)
        std::memcpy(row + h * args.head_stride, row, static_cast<size_t>(bytes));
    }
    kernels::attention(target, pool, args, scratch_);
    for (int64_t i = 0; i < args.queries * args.heads; ++i)
      std::copy_n(out_.data() + i * size, n, attended_.data() + i * width + first);
  }
}

void Attended::show(Target target, ThreadPool& pool, const Attend& step, const Segment& segment,
                    const kernels::AttentionArgs& args, const ActivationTap& tap) {
  // As many rows as there are queries: of each head every so many, others at each turn.
  const int64_t every = std::min(args.heads, args.queries), begin = turn_++ % every;
  kernels::AttentionArgs some = args;
  some.q += begin * args.q_stride;
  some.q_stride *= every;
  some.queries = (args.queries - begin + every - 1) / every;
  positions_.clear();
  for (int64_t i = begin; i < args.queries; i += every) positions_.push_back(args.positions[i]);
  some.positions = positions_.data();
  if (const float* x = kept(step.values_label, segment, args.cached); x != nullptr) {
    attend(target, pool, some, x, kept_.width);
    tap(step.values_label + kValues, attended_.data(), some.queries * some.heads, kept_.width);
  }
  if (const float* x = kept(step.keys_label, segment, args.cached); x != nullptr) {
    const int64_t tokens = args.cached;
    identity_.assign(static_cast<size_t>(tokens * tokens), 0.0F);
    for (int64_t t = 0; t < tokens; ++t) identity_[static_cast<size_t>(t * (tokens + 1))] = 1;
    attend(target, pool, some, identity_.data(), tokens);
    std::vector<double> counts(static_cast<size_t>(tokens), 0);
    for (size_t i = 0; i < attended_.size(); ++i) {
      const auto a = static_cast<double>(attended_[i]);
      counts[i % static_cast<size_t>(tokens)] += a * (1 - a) * a * (1 - a);
    }
    attended_.assign(x, x + tokens * kept_.width);
    for (int64_t t = 0; t < tokens; ++t) {
      const auto by = static_cast<float>(std::sqrt(counts[static_cast<size_t>(t)]));
      for (int64_t c = 0; c < kept_.width; ++c) attended_[static_cast<size_t>(t * kept_.width + c)] *= by;
    }
    tap(step.keys_label + kKeys, attended_.data(), tokens, kept_.width);
  }
}

}  // namespace lissom::runtime
