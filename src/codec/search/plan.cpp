#include "codec/grid.h"

namespace lissom {
namespace {

void add_range(std::vector<float>& list, float first, float last, int count) {
  for (int i = 0; i < count; ++i)
    list.push_back(first + (last - first) * static_cast<float>(i) / static_cast<float>(count - 1));
}

}  // namespace

SearchPlan make_search_plan(const GridSpec& spec, bool weighted) {
  SearchPlan plan;
  plan.refits = 2;
  plan.reach = 1;
  if (!spec.has_offset()) {
    const auto low = static_cast<float>(spec.levels != nullptr ? spec.levels[0] : spec.low);
    const auto high = static_cast<float>(spec.levels != nullptr ? spec.levels[15] : spec.high);
    add_range(plan.positions, low * 0.8F, low * 1.25F, weighted ? 12 : 6);
    add_range(plan.positions, high * 0.8F, high * 1.25F, weighted ? 12 : 6);
  } else {
    const int n = weighted ? 5 : 3;
    for (int i = 0; i < n; ++i)
      for (int j = 0; j < n; ++j)
        plan.shrinks.push_back({0.05F * static_cast<float>(i), 0.05F * static_cast<float>(j)});
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
