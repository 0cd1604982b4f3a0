// How far each codec's search goes. The numbers were found by measurement (bench/codec_vs_ggml.py): where one
// more candidate costs time and no longer lowers the error, they stop.

#include <cmath>

#include "codec/grid.h"

namespace lissom {
namespace {

void add_range(std::vector<float>& list, float first, float last, int count) {
  for (int i = 0; i < count; ++i)
    list.push_back(first + (last - first) * static_cast<float>(i) / static_cast<float>(count - 1));
}

/// Both ends of a range by 0, step, … (n values each).
void add_shrinks(std::vector<Shrink>& list, float first, float step, int n) {
  for (int i = 0; i < n; ++i)
    for (int j = 0; j < n; ++j)
      list.push_back({first + step * static_cast<float>(i), first + step * static_cast<float>(j)});
}

/// Three levels: most weights of a block lie between them, so the best scale is well below the largest weight.
void plan_ternary(bool weighted, SearchPlan& plan) {
  plan.plain_position = -1;
  for (const float ratio : {1.0F, 1.3F, 1.65F, 2.0F, 2.4F, 3.0F, 4.0F, 6.0F}) plan.positions.push_back(-ratio);
  if (weighted) plan.positions.insert(plan.positions.end(), {-0.7F, -2.7F, -3.5F, -9.0F});
  plan.nearby = {0.92F, 0.96F, 1.04F, 1.08F};
}

void plan_scales(const GridSpec& spec, bool weighted, SearchPlan& plan) {
  if (spec.low == -1 && spec.high == 1) return plan_ternary(weighted, plan);
  if (spec.kind == GridKind::listed_scale) {
    add_range(plan.positions, 5.5F, 15.0F, 8);
    plan.reach = 2;
    return;
  }
  const auto low = static_cast<float>(spec.levels != nullptr ? spec.levels[0] : spec.low);
  const auto high = static_cast<float>(spec.levels != nullptr ? spec.levels[15] : spec.high);
  // The finer the grid, the closer the best scale is to the plain one.
  const float levels = spec.levels != nullptr ? 16.0F : static_cast<float>(spec.high - spec.low + 1);
  const float reach = 1.0F / std::sqrt(levels);
  plan.plain_position = low;
  const int count = weighted ? 8 : 4;
  add_range(plan.positions, low * (1 - reach), low * (1 + reach), count);
  // The largest weight on the upper end: the same on a symmetric grid, and seldom better where all weights
  // count alike.
  if (low != -high && (weighted || spec.kind != GridKind::scale || spec.levels != nullptr))
    add_range(plan.positions, high * (1 - reach), high * (1 + reach), count);
  if (weighted || spec.kind == GridKind::sub_scale)
    for (int k = 1; k <= 2; ++k)
      for (float side : {-1.0F, 1.0F}) plan.nearby.push_back(1 + side * static_cast<float>(k) * reach / 16);
}

}  // namespace

SearchPlan make_search_plan(const GridSpec& spec, bool weighted) {
  SearchPlan plan;
  plan.refits = weighted ? 2 : 1;
  plan.reach = 1;
  if (spec.has_offset()) {
    const float step = 0.2F / std::sqrt(static_cast<float>(spec.high + 1));
    if (weighted || spec.kind == GridKind::sub_scale_min)
      add_shrinks(plan.shrinks, 0, step, weighted ? 5 : 3);
    else
      plan.shrinks = {{step / 2, step / 2}, {step, step}, {0, step}};
    // Fewer steps than the codes allow: weights that lay on a coarser grid are then found exactly.
    for (int k = 1; k <= (weighted ? 5 : 1) && spec.high - k > 1; ++k)
      plan.shrinks.push_back({0, 1 - static_cast<float>(spec.high) / static_cast<float>(spec.high - k)});
    if (weighted) add_shrinks(plan.nearby_shrinks, -step / 2, step / 2, 3);
  } else {
    plan_scales(spec, weighted, plan);
  }
  if (spec.kind == GridKind::sub_scale) {
    const auto low = static_cast<float>(spec.scale_low), high = static_cast<float>(spec.scale_high);
    add_range(plan.divisors, low - 0.4F, low * 0.7F, 16);
    add_range(plan.divisors, high + 0.4F, high * 0.7F, 16);
  }
  if (spec.kind == GridKind::sub_scale_min) {
    const auto high = static_cast<float>(spec.scale_high), most = static_cast<float>(spec.min_high);
    add_range(plan.divisors, high + 0.4F, high * 0.7F, 16);
    add_range(plan.minimum_divisors, most + 0.4F, most * 0.7F, 8);
  }
  return plan;
}

}  // namespace lissom
