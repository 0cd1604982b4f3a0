#include "runtime/stages.h"

#include <algorithm>
#include <optional>

namespace lissom::runtime {
namespace {

/// A step with at most one row operation.
std::vector<Step> single_steps(const std::vector<Step>& steps) {
  std::vector<Step> single;
  for (const Step& step : steps) {
    if (const auto* rows = std::get_if<Rows>(&step)) {
      for (const RowOp& op : rows->ops) single.emplace_back(Rows{{op}});
    } else {
      single.push_back(step);
    }
  }
  return single;
}

/// Row operations that follow each other are one step again.
std::vector<Step> joined(std::span<const Step> single) {
  std::vector<Step> steps;
  for (const Step& step : single) {
    const auto* rows = std::get_if<Rows>(&step);
    auto* last = steps.empty() ? nullptr : std::get_if<Rows>(&steps.back());
    if (rows != nullptr && last != nullptr) {
      last->ops.insert(last->ops.end(), rows->ops.begin(), rows->ops.end());
    } else {
      steps.push_back(step);
    }
  }
  return steps;
}

/// What a single step reads and writes.
struct Access {
  std::vector<View> reads;
  View write;
  bool loads_cache = false, stores_cache = false;
};

struct AccessOf {
  Access operator()(const Rows& step) const { return std::visit(*this, step.ops.front()); }
  Access operator()(const EmbedRow& o) const { return {{}, o.out}; }
  Access operator()(const StoreRow& o) const { return {{o.k, o.v}, {}, false, true}; }
  Access operator()(const PairRow& o) const { return {{o.a, o.b}, o.out}; }
  Access operator()(const Attend& step) const { return {{step.q}, step.out, true}; }
  Access operator()(const RelativeAttend& step) const { return {{step.q, step.k, step.v}, step.out}; }
  Access operator()(const Mixture& step) const { return {{step.in, step.router}, step.out}; }
  template <class OneToOne>
  Access operator()(const OneToOne& o) const {
    return {{o.in}, o.out};
  }
};

/// Slots whose content is still read; walks a program backwards.
class Live {
 public:
  explicit Live(const std::vector<Slot>& slots) : slots_(slots), live_(slots.size(), false) {}

  [[nodiscard]] bool at(const View& v) const { return v.slot >= 0 && live_[static_cast<size_t>(v.slot)]; }
  /// From after a step to before it. Of a product its `outs` are written.
  void pass(const Step& step) {
    if (std::holds_alternative<Compact>(step)) return;
    if (const auto* product = std::get_if<Product>(&step)) {
      for (const Product::Term& term : product->terms) write(term.out);
      live_[static_cast<size_t>(product->in.slot)] = true;
      return;
    }
    const Access access = access_of(step);
    write(access.write);
    if (access.stores_cache) cache_ = false;
    cache_ |= access.loads_cache;
    for (const View& v : access.reads) live_[static_cast<size_t>(v.slot)] = true;
  }
  /// Whether anything reads what the step makes.
  [[nodiscard]] bool wants(const Step& step) const {
    const Access access = access_of(step);
    return access.stores_cache ? cache_ : at(access.write);
  }
  /// The one slot that is live, where there is no other and no key or value.
  [[nodiscard]] std::optional<int> only() const {
    if (cache_ || std::ranges::count(live_, true) != 1) return {};
    return static_cast<int>(std::ranges::find(live_, true) - live_.begin());
  }

 private:
  static Access access_of(const Step& step) {
    return std::visit(
        [](const auto& s) -> Access {
          using T = std::decay_t<decltype(s)>;
          if constexpr (std::is_same_v<T, Product> || std::is_same_v<T, Compact>)
            return {};
          else
            return AccessOf{}(s);
        },
        step);
  }
  /// Only a whole row replaces what was there.
  void write(const View& v) {
    if (v.slot >= 0 && v.width == slots_[static_cast<size_t>(v.slot)].width)
      live_[static_cast<size_t>(v.slot)] = false;
  }

  const std::vector<Slot>& slots_;
  std::vector<bool> live_;
  bool cache_ = false;
};

/// Takes from a step what nobody reads; false where nothing is left of it.
bool keep(Step& step, const Live& live, bool last) {
  if (auto* product = std::get_if<Product>(&step)) {
    std::erase_if(product->terms, [&](const Product::Term& term) { return !live.at(term.out); });
    return product->first_of_label || !product->terms.empty();
  }
  if (auto* compact = std::get_if<Compact>(&step)) {
    std::erase_if(compact->live, [&](const View& v) { return !live.at(v); });
    return !last;
  }
  return std::holds_alternative<Mixture>(step) || live.wants(step);
}

bool multiplies(const Step& step) {
  const auto* product = std::get_if<Product>(&step);
  return product != nullptr
             ? !product->terms.empty()
             : std::holds_alternative<Mixture>(step) || std::holds_alternative<RelativeAttend>(step);
}

}  // namespace

Program only_inputs(Program program) {
  std::vector<Step> steps = single_steps(program.steps);
  std::vector<Step> kept;
  Live live(program.slots);
  std::vector<bool> used(program.slots.size(), false);
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    if (!keep(*step, live, kept.empty())) continue;
    live.pass(*step);
    for (size_t i = 0; i < used.size(); ++i) used[i] = used[i] || live.at({static_cast<int>(i)});
    kept.push_back(std::move(*step));
  }
  std::ranges::reverse(kept);
  program.steps = joined(kept);
  for (const Step& step : program.steps)  // nobody reads it, but it is written
    if (const auto* mixture = std::get_if<Mixture>(&step)) used[static_cast<size_t>(mixture->out.slot)] = true;
  for (size_t i = 0; i < used.size(); ++i)
    if (!used[i]) program.slots[i].width = 0;
  program.logits = program.hidden = program.pooled = {};
  use_one_layer(program);
  return program;
}

void use_one_layer(Program& program) {
  for (Step& step : program.steps) {
    if (auto* attend = std::get_if<Attend>(&step)) attend->layer = 0;
    if (auto* rows = std::get_if<Rows>(&step))
      for (RowOp& op : rows->ops)
        if (auto* store = std::get_if<StoreRow>(&op)) store->layer = 0;
  }
  program.kv_layers = std::min<int64_t>(program.kv_layers, 1);
}

std::vector<Stage> cut(const Program& program, const std::function<bool(const Step&)>& takes) {
  const std::vector<Step> steps = single_steps(program.steps);
  std::vector<std::optional<int>> only(steps.size());  // before each step
  Live live(program.slots);
  for (size_t i = steps.size(); i-- > 0;) {
    live.pass(steps[i]);
    only[i] = live.only();
  }
  const auto could_end_later = [&](size_t i) {
    for (size_t k = i; takes && k + 1 < steps.size() && !multiplies(steps[k]) && takes(steps[k]); ++k)
      if (only[k + 1]) return true;
    return false;
  };
  std::vector<Stage> stages;
  size_t first = 0;
  View in;
  bool multiplied = static_cast<bool>(takes);
  const auto end_at = [&](size_t i, const View& out) {
    stages.push_back({joined(std::span(steps).subspan(first, i - first)), in, out});
    first = i;
    in = out;
    multiplied = false;
  };
  for (size_t i = 0; i < steps.size(); ++i) {
    if (std::holds_alternative<Compact>(steps[i]) || std::holds_alternative<Pool>(steps[i])) break;
    if (multiplied && only[i] && !could_end_later(i)) {
      const int64_t width = program.slots[static_cast<size_t>(*only[i])].width;
      end_at(i, {*only[i], 0, width, width});
    }
    multiplied = multiplied || multiplies(steps[i]);
  }
  end_at(steps.size(), {});
  return stages;
}

}  // namespace lissom::runtime
