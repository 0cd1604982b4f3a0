#include "runtime/program.h"

#include <algorithm>
#include <map>
#include <set>

#include "runtime/attended.h"

namespace lissom::runtime {
namespace {

constexpr int kForever = 1 << 30;

class Lowering {
 public:
  Lowering(const Graph& graph, CompactAt compact) : graph_(graph), compact_(compact) {}

  Result<Program> run() {
    LISSOM_CHECK(check_values());
    find_uses();
    find_fusions();
    find_keys_and_values();
    LISSOM_CHECK(place());
    for (int i = 0; i < n_ops(); ++i) LISSOM_CHECK(emit(i));
    flush();
    const auto view_or_none = [&](ValueId v) { return v < 0 ? View{} : view(v); };
    program_.logits = view_or_none(graph_.logits);
    program_.hidden = view_or_none(graph_.hidden);
    program_.pooled = view_or_none(graph_.pooled);
    return std::move(program_);
  }

 private:
  [[nodiscard]] int n_ops() const { return static_cast<int>(graph_.ops.size()); }
  [[nodiscard]] int64_t width(ValueId v) const { return graph_.widths[static_cast<size_t>(v)]; }
  [[nodiscard]] const View& view(ValueId v) const { return views_[static_cast<size_t>(v)]; }
  [[nodiscard]] const Op& op(int i) const { return graph_.ops[static_cast<size_t>(i)]; }
  [[nodiscard]] ValueId root(ValueId v) const { return root_[static_cast<size_t>(v)]; }

  Result<void> check_values() {
    const auto n = static_cast<ValueId>(graph_.widths.size());
    const auto n_weights = static_cast<WeightId>(graph_.weights.size());
    std::vector<bool> made(static_cast<size_t>(n), false);
    for (const Op& o : graph_.ops) {
      for (const ValueId v : inputs_of(o)) {
        if (v < 0 || v >= n || !made[static_cast<size_t>(v)])
          return bad_input("graph: an op reads a value not yet made");
      }
      const ValueId out = output_of(o);
      if (out < 0 || out >= n || made[static_cast<size_t>(out)] || width(out) <= 0)
        return bad_input("graph: an op has no output of its own");
      made[static_cast<size_t>(out)] = true;
      LISSOM_CHECK(std::visit([&](const auto& x) { return check(x, n_weights); }, o));
    }
    for (const ValueId v : {graph_.logits, graph_.hidden, graph_.pooled}) {
      if (v >= n || (v >= 0 && !made[static_cast<size_t>(v)]))
        return bad_input("graph: a result is never made");
    }
    return {};
  }

  Result<void> fits(bool ok, const char* what) const {
    if (!ok) return bad_input(std::string("graph: ") + what + " does not fit its values");
    return {};
  }
  [[nodiscard]] bool shaped(WeightId w, const Shape& shape) const {
    return w >= 0 && w < static_cast<WeightId>(graph_.weights.size()) &&
           graph_.weights[static_cast<size_t>(w)].shape == shape;
  }
  [[nodiscard]] bool vector(WeightId w, int64_t n) const { return w == -1 || shaped(w, {n}); }

  Result<void> check(const EmbedOp& o, WeightId n) const {
    return fits(o.table >= 0 && o.table < n && graph_.weights[static_cast<size_t>(o.table)].shape.rank() == 2 &&
                    graph_.weights[static_cast<size_t>(o.table)].shape[1] == width(o.out),
                "an embedding");
  }
  Result<void> check(const LinearOp& o, WeightId) const {
    return fits(shaped(o.weight, {width(o.out), width(o.in)}) && vector(o.bias, width(o.out)), "a linear");
  }
  Result<void> check(const NormOp& o, WeightId) const {
    const int64_t group = o.group > 0 ? o.group : width(o.in);
    return fits(width(o.in) == width(o.out) && width(o.in) % group == 0 && shaped(o.weight, {group}) &&
                    vector(o.bias, group),
                "a norm");
  }
  Result<void> check(const RopeOp& o, WeightId) const {
    return fits(
        o.heads > 0 && o.head_dim > 0 && o.heads * o.head_dim == width(o.in) && width(o.in) == width(o.out),
        "RoPE");
  }
  Result<void> check(const AttentionOp& o, WeightId) const {
    return fits(o.heads > 0 && o.kv_heads > 0 && o.head_dim > 0 && o.heads % o.kv_heads == 0 && o.layer >= 0 &&
                    o.heads * o.head_dim == width(o.q) && width(o.out) == width(o.q) &&
                    o.kv_heads * o.head_dim == width(o.k) && width(o.v) == width(o.k),
                "attention");
  }
  Result<void> check(const RelativeAttentionOp& o, WeightId) const {
    const RelativePositions& p = o.positions;
    const int64_t n = o.heads * o.head_dim;
    const bool values = o.heads > 0 && o.head_dim > 0 && width(o.q) == n && width(o.k) == n &&
                        width(o.v) == n && width(o.out) == n && p.buckets > 1 &&
                        p.max_distance > p.buckets / 2 + 1;
    if (!values || !shaped(p.table, {2 * p.buckets, n}) || !shaped(p.norm, {n}))
      return fits(false, "attention");
    return fits(shaped(o.q_weight, {n, n}) && shaped(o.k_weight, {n, n}) && vector(o.q_bias, n) &&
                    vector(o.k_bias, n) && vector(p.bias, n),
                "attention");
  }
  Result<void> check(const ActivationOp& o, WeightId) const {
    return fits(width(o.in) == width(o.out), "an activation");
  }
  Result<void> check(const SoftcapOp& o, WeightId) const {
    return fits(width(o.in) == width(o.out) && o.cap > 0, "a soft cap");
  }
  Result<void> check(const MoeOp& o, WeightId) const {
    const Experts& e = o.experts;
    const bool counts = e.count > 0 && e.used > 0 && e.used <= e.count && e.ff > 0 && e.groups > 0 &&
                        e.groups_used > 0 && e.groups_used <= e.groups && e.count % e.groups == 0 &&
                        e.used <= e.count / e.groups * e.groups_used;
    const Shape in{e.count, e.ff, width(o.in)}, out{e.count, width(o.out), e.ff};
    return fits(counts && width(o.router) == e.count && width(o.in) == width(o.out) && shaped(o.gate, in) &&
                    shaped(o.up, in) && shaped(o.down, out) && vector(o.score_bias, e.count),
                "a mixture of experts");
  }
  Result<void> check(const AddOp& o, WeightId) const {
    return fits(width(o.a) == width(o.out) && width(o.b) == width(o.out), "an addition");
  }
  Result<void> check(const MulOp& o, WeightId) const {
    return fits(width(o.a) == width(o.out) && width(o.b) == width(o.out), "a product");
  }
  Result<void> check(const SliceOp& o, WeightId) const {
    return fits(o.first >= 0 && o.first <= width(o.in) - width(o.out), "a slice");
  }
  Result<void> check(const PoolOp& o, WeightId) const { return fits(width(o.in) == width(o.out), "pooling"); }

  /// The op that reads each value last; a slice keeps alive what it is cut from.
  void find_uses() {
    const size_t n = graph_.widths.size();
    root_.resize(n);
    uses_.assign(n, 0);
    last_use_.assign(n, -1);
    for (size_t v = 0; v < n; ++v) root_[v] = static_cast<ValueId>(v);
    for (int i = 0; i < n_ops(); ++i) {
      if (const auto* slice = std::get_if<SliceOp>(&op(i)))
        root_[static_cast<size_t>(slice->out)] = root(slice->in);
      for (const ValueId v : inputs_of(op(i))) {
        ++uses_[static_cast<size_t>(v)];
        last_use_[static_cast<size_t>(root(v))] = i;
      }
    }
    for (const ValueId v : {graph_.logits, graph_.hidden, graph_.pooled}) {
      if (v < 0) continue;
      ++uses_[static_cast<size_t>(v)];
      last_use_[static_cast<size_t>(root(v))] = kForever;
    }
  }

  /// silu(gate)·up is one pass where nothing else reads silu(gate). And where rows are dropped.
  void find_fusions() {
    std::map<ValueId, int> silu;
    bool pools = false;
    for (int i = 0; i < n_ops(); ++i) {
      if (const auto* a = std::get_if<ActivationOp>(&op(i));
          a != nullptr && a->kind == ActivationOp::Kind::silu && uses_[static_cast<size_t>(a->out)] == 1) {
        silu[a->out] = i;
      }
      if (const auto* m = std::get_if<MulOp>(&op(i)); m != nullptr && m->a != m->b) {
        const auto found = silu.contains(m->a) ? silu.find(m->a) : silu.find(m->b);
        if (found != silu.end()) {
          const auto& a = std::get<ActivationOp>(op(found->second));
          fused_activation_[found->second] = true;
          fused_mul_[i] = {a.in, found->first == m->a ? m->b : m->a};
          auto& last = last_use_[static_cast<size_t>(root(a.in))];
          last = std::max(last, i);
        }
      }
      if (const auto* at = std::get_if<AttentionOp>(&op(i))) {
        last_attention_ = i;
        causal_ = at->causal;
      }
      if (std::holds_alternative<RelativeAttentionOp>(op(i))) causal_ = false;
      pools |= std::holds_alternative<PoolOp>(op(i));
    }
    if (!causal_ || pools || graph_.logits < 0) return;
    if (compact_ == CompactAt::head || last_attention_ < 0) {
      // The head is the linear that makes the logits.
      for (int i = 0; i < n_ops(); ++i)
        if (output_of(op(i)) == graph_.logits && !inputs_of(op(i)).empty()) compact_before_ = i;
    } else {
      compact_before_ = last_attention_;
    }
  }

  /// Ops that are executed as one with the op that follows them give their inputs a longer life.
  [[nodiscard]] int group_end(int i) const {
    const auto* first = std::get_if<LinearOp>(&op(i));
    if (first == nullptr) return i;
    int end = i;
    while (end + 1 < n_ops()) {
      const auto* next = std::get_if<LinearOp>(&op(end + 1));
      if (next == nullptr || next->in != first->in || next->input_label != first->input_label ||
          end + 1 == compact_before_)
        break;
      ++end;
    }
    return end;
  }

  Result<void> place() {
    views_.resize(graph_.widths.size());
    std::map<int64_t, std::vector<int>> free;
    std::vector<std::vector<ValueId>> dying(graph_.ops.size());
    for (size_t v = 0; v < root_.size(); ++v) {
      const int last = last_use_[v];
      if (last >= 0 && last < kForever) dying[static_cast<size_t>(last)].push_back(static_cast<ValueId>(v));
    }
    const auto bury = [&](int i) {
      // What a fusion skips was never placed.
      for (const ValueId v : dying[static_cast<size_t>(i)])
        if (view(v).slot >= 0) free[width(v)].push_back(view(v).slot);
    };
    bool late = false;
    const auto born = [&](ValueId v) {
      auto& list = free[width(v)];
      int slot = static_cast<int>(program_.slots.size());
      if (list.empty()) {
        program_.slots.push_back({width(v), late});
      } else {
        slot = list.back();
        list.pop_back();
        program_.slots[static_cast<size_t>(slot)].late &= late;
      }
      views_[static_cast<size_t>(v)] = {slot, 0, width(v), width(v)};
    };
    for (int i = 0; i < n_ops();) {
      const int end = group_end(i);
      late |= i == compact_before_;
      // Element-wise ops may write where they read; everything else needs its input to the end.
      const bool in_place = std::holds_alternative<ActivationOp>(op(i)) ||
                            std::holds_alternative<AddOp>(op(i)) || std::holds_alternative<MulOp>(op(i)) ||
                            std::holds_alternative<RopeOp>(op(i)) || std::holds_alternative<SoftcapOp>(op(i));
      if (const auto* slice = std::get_if<SliceOp>(&op(i))) {
        const View& from = view(slice->in);
        views_[static_cast<size_t>(slice->out)] = {from.slot, from.offset + slice->first, width(slice->out),
                                                   from.stride};
        bury(i);
      } else if (fused_activation_.contains(i)) {
        bury(i);
      } else {
        if (in_place) bury(i);
        for (int j = i; j <= end; ++j) born(output_of(op(j)));
        if (!in_place)
          for (int j = i; j <= end; ++j) bury(j);
        // A value that nobody reads: its slot is free at once.
        for (int j = i; j <= end; ++j) {
          const ValueId v = output_of(op(j));
          if (last_use_[static_cast<size_t>(v)] < 0) free[width(v)].push_back(view(v).slot);
        }
      }
      i = end + 1;
    }
    return {};
  }

  void flush() {
    if (!rows_.ops.empty()) program_.steps.emplace_back(std::move(rows_));
    rows_ = {};
  }
  void row(RowOp o) { rows_.ops.push_back(o); }
  template <class T>
  void step(T s) {
    flush();
    program_.steps.emplace_back(std::move(s));
  }

  /// Values that are still read from op i on.
  void compact(int i) {
    Compact c;
    std::vector<bool> seen(program_.slots.size(), false);
    for (size_t v = 0; v < views_.size(); ++v) {
      const bool made_before = made_.contains(static_cast<ValueId>(v));
      if (!made_before || root_[v] != static_cast<ValueId>(v) || last_use_[v] < i) continue;
      const View& w = views_[v];
      if (w.slot < 0 || seen[static_cast<size_t>(w.slot)]) continue;
      seen[static_cast<size_t>(w.slot)] = true;
      c.live.push_back(w);
    }
    step(std::move(c));
  }

  Result<void> emit(int i) {
    // For attention, its keys and values are stored first, of every row.
    if (i == compact_before_ && !std::holds_alternative<AttentionOp>(op(i))) compact(i);
    LISSOM_CHECK(std::visit([&](const auto& o) { return emit(i, o); }, op(i)));
    made_[output_of(op(i))] = true;
    return {};
  }

  static std::string label_of(const LinearOp* linear) {
    return linear == nullptr ? std::string() : linear->input_label;
  }
  void find_keys_and_values() {
    for (const Op& op : graph_.ops)
      if (const auto* attention = std::get_if<AttentionOp>(&op)) {
        attended_labels_.insert(label_of(linear_of_keys(graph_, *attention)));
        attended_labels_.insert(label_of(linear_of_values(graph_, *attention)));
      }
  }

  Result<void> emit(int, const EmbedOp& o) {
    if (o.index == EmbedOp::Index::position) program_.position_table = o.table;
    if (o.index == EmbedOp::Index::token_type) program_.uses_token_types = true;
    row(EmbedRow{o.index, o.table, view(o.out), o.scale});
    return {};
  }
  Result<void> emit(int i, const LinearOp& o) {
    auto* last =
        program_.steps.empty() || !rows_.ops.empty() ? nullptr : std::get_if<Product>(&program_.steps.back());
    if (i > 0 && last != nullptr && product_end_ >= i) {
      last->terms.push_back({o.weight, o.bias, view(o.out)});
      return {};
    }
    product_end_ = group_end(i);
    Product p{view(o.in),
              {{o.weight, o.bias, view(o.out)}},
              o.input_label,
              !labels_.contains(o.input_label),
              attended_labels_.contains(o.input_label)};
    if (p.in.stride != p.in.width) return bad_input("graph: a linear cannot read a slice");
    labels_[o.input_label] = true;
    step(std::move(p));
    return {};
  }
  Result<void> emit(int, const NormOp& o) {
    row(NormRow{o.kind, view(o.in), view(o.out), o.weight, o.bias, o.eps, o.group > 0 ? o.group : width(o.in)});
    return {};
  }
  Result<void> emit(int, const RopeOp& o) {
    program_.uses_rope = true;
    program_.uses_local_rope |= o.local;
    row(RopeRow{view(o.in), view(o.out), o.heads, o.head_dim, o.local});
    return {};
  }
  Result<void> emit(int i, const AttentionOp& o) {
    Program& p = program_;
    const bool first = p.kv_width == 0;
    if (first) {
      p.kv_width = o.kv_heads * o.head_dim;
      p.kv_heads = o.kv_heads;
      p.head_dim = o.head_dim;
      p.has_cache = o.causal;
    }
    if (p.kv_heads != o.kv_heads || p.head_dim != o.head_dim || p.has_cache != o.causal)
      return unsupported("graph: attention layers of different shapes");
    if (o.layer != p.kv_layers) return bad_input("graph: attention layers out of order");
    ++p.kv_layers;
    row(StoreRow{view(o.k), view(o.v), o.layer, o.kv_heads, o.head_dim});
    if (i == compact_before_) compact(i);
    step(Attend{view(o.q), view(o.out), o.layer, o.heads, o.kv_heads, o.head_dim, o.scale, o.causal, o.window,
                o.softcap, label_of(linear_of_keys(graph_, o)), label_of(linear_of_values(graph_, o))});
    return {};
  }
  Result<void> emit(int, const RelativeAttentionOp& o) {
    step(RelativeAttend{view(o.q), view(o.k), view(o.v), view(o.out), &o});
    return {};
  }
  Result<void> emit(int i, const ActivationOp& o) {
    if (!fused_activation_.contains(i)) row(ActivateRow{o.kind, view(o.in), view(o.out)});
    return {};
  }
  Result<void> emit(int, const SoftcapOp& o) {
    row(SoftcapRow{view(o.in), view(o.out), o.cap});
    return {};
  }
  Result<void> emit(int, const MoeOp& o) {
    const View in = view(o.in), router = view(o.router);
    if (in.stride != in.width || router.stride != router.width)
      return bad_input("graph: a mixture of experts cannot read a slice");
    step(Mixture{in, router, view(o.out), &o});
    return {};
  }
  Result<void> emit(int, const AddOp& o) {
    row(PairRow{Pairwise::add, view(o.a), view(o.b), view(o.out)});
    return {};
  }
  Result<void> emit(int i, const MulOp& o) {
    const auto fused = fused_mul_.find(i);
    if (fused == fused_mul_.end()) {
      row(PairRow{Pairwise::mul, view(o.a), view(o.b), view(o.out)});
    } else {
      row(PairRow{Pairwise::silu_mul, view(fused->second.first), view(fused->second.second), view(o.out)});
    }
    return {};
  }
  Result<void> emit(int, const SliceOp&) { return {}; }
  Result<void> emit(int, const PoolOp& o) {
    if (o.kind == Pooling::none) return bad_input("graph: pooling of no kind");
    step(Pool{o.kind, view(o.in), view(o.out)});
    return {};
  }

  const Graph& graph_;
  CompactAt compact_;
  Program program_;
  Rows rows_;
  std::set<std::string> attended_labels_;
  std::vector<ValueId> root_;
  std::vector<int> uses_, last_use_;
  std::vector<View> views_;
  std::map<int, bool> fused_activation_;
  std::map<int, std::pair<ValueId, ValueId>> fused_mul_;
  std::map<ValueId, bool> made_;
  std::map<std::string, bool> labels_;
  int last_attention_ = -1, compact_before_ = -1, product_end_ = -1;
  bool causal_ = true;
};

}  // namespace

Result<Program> lower(const Graph& graph, CompactAt compact) {
  return Lowering(graph, compact).run();
}

}  // namespace lissom::runtime
