#pragma once
// Super-blocks: the scales (and minima) of 8 or 16 sub-blocks are small integers times one or two shared f16
// numbers, so all are chosen together. Included by search_impl.h.

#include <algorithm>

#include "codec/search/scale_search.h"

namespace lissom::LANES {
namespace {

/// d for which the ideal scales of one super-block round with the least damage: sixteen candidates, one in each
/// lane, by the second-order cost LL·δ² of missing a sub-block's ideal scale by δ.
LANES_FN float pick_super_scale(const GridSpec& spec, const float* ideal, const float* LL,
                                std::span<const float> divisors) {
  const int subs = spec.subs();
  float extreme = 0;
  for (int j = 0; j < subs; ++j)
    if (std::fabs(ideal[j]) > std::fabs(extreme)) extreme = ideal[j];
  const F low = set(static_cast<float>(spec.scale_low)), high = set(static_cast<float>(spec.scale_high));
  float best = 0, best_cost = 0x1p126F;
  for (size_t first = 0; first < divisors.size(); first += 16) {
    const F d = to_half_and_back(set(extreme) / load(divisors.data() + first));
    const F inv = inverse(d);
    F cost = set(0);
    for (int j = 0; j < subs; ++j) {
      const F s = round(min(max(set(ideal[j]) * inv, low), high));
      const F miss = set(ideal[j]) - d * s;
      cost = cost + miss * miss * set(LL[j]);
    }
    alignas(64) float costs[16], ds[16];
    store(costs, cost);
    store(ds, d);
    for (int i = 0; i < 16; ++i)
      if (costs[i] < best_cost) {
        best_cost = costs[i];
        best = ds[i];
      }
  }
  return best;
}

/// Tries the neighbours of each sub-block's integer scale on the true error; returns the moments at the best.
template <int N, bool Weighted, class Grid>
LANES_FN Moments settle_scales(const GridSpec& spec, const Tile<N>& tile, const Grid& grid, const F& d,
                               int reach, F& scale) {
  const F low = set(static_cast<float>(spec.scale_low)), high = set(static_cast<float>(spec.scale_high));
  F best = scale, best_error = error_of<N, Weighted, false>(tile, grid, d * scale, set(0));
  for (int k = 1; k <= reach; ++k)
    for (float step : {-static_cast<float>(k), static_cast<float>(k)}) {
      const F s = min(max(scale + set(step), low), high);
      const F error = error_of<N, Weighted, false>(tile, grid, d * s, set(0));
      const Mask better = error < best_error;
      best = select(better, s, best);
      best_error = select(better, error, best_error);
    }
  scale = best;
  return evaluate<N, Weighted, false>(tile, grid, d * scale, set(0));
}

template <int N, bool Weighted, class Grid>
LANES_FN void search_super_scales(const GridSpec& spec, const Tile<N>& tile, const Grid& grid,
                                  const SearchPlan& plan, int blocks, GridParams* params) {
  const int subs = spec.subs();
  const ScaleFit fit = best_scale<N, Weighted>(tile, grid, plan, extreme_of(tile));
  alignas(64) float ideal[16], LL[16];
  store(ideal, fit.scale);
  store(LL, fit.LL);
  float d_of[2] = {};
  for (int g = 0; g < 16 / subs; ++g)
    d_of[g] = pick_super_scale(spec, ideal + g * subs, LL + g * subs, plan.divisors);
  F d = spread(d_of, subs);
  const F low = set(static_cast<float>(spec.scale_low)), high = set(static_cast<float>(spec.scale_high));
  F scale = round(min(max(fit.scale * inverse(d), low), high));

  F best_d = d, best_scale = scale;
  double best_error[2] = {HUGE_VAL, HUGE_VAL};
  for (int k = 0; k <= plan.refits; ++k) {
    const Moments s = settle_scales<N, Weighted>(spec, tile, grid, d, plan.reach, scale);
    double error[2], numerator[2], denominator[2];
    group_sums(s.error, subs, error);
    group_sums(scale * s.eL, subs, numerator);
    group_sums(scale * scale * s.LL, subs, denominator);
    float won[2] = {};
    for (int g = 0; g < 16 / subs; ++g) {
      won[g] = error[g] < best_error[g] ? 1.0F : 0.0F;
      best_error[g] = std::min(best_error[g], error[g]);
      if (denominator[g] > 0) d_of[g] += static_cast<float>(numerator[g] / denominator[g]);
      d_of[g] = half_to_float(float_to_half(d_of[g]));
    }
    const Mask better = spread(won, subs) > set(0);
    best_d = select(better, d, best_d);
    best_scale = select(better, scale, best_scale);
    d = spread(d_of, subs);
  }
  uint16_t halves[16];
  int8_t scales[16];
  store_half(halves, best_d);
  store_int8(scales, best_scale);
  for (int g = 0; g < blocks; ++g) {
    params[g].d = halves[g * subs];
    std::copy_n(scales + g * subs, subs, params[g].scale);
  }
}

}  // namespace
}  // namespace lissom::LANES
