#pragma once
// Super-blocks with scales and minima: ŵ = d·s·q - m·b, d and m shared as f16, s and b small integers of each
// sub-block. Included by search_impl.h.

#include <algorithm>

#include "codec/search/scale_search.h"

namespace lissom::LANES {
namespace {

/// The ideal scales and minima of one super-block's sub-blocks, with what missing them costs.
struct IdealAffine {
  const float *scale, *minimum, *L, *LL, *sum_v;
};
struct SuperPair {
  float d, m;
};

/// d and m together: for each of `minimum_divisors` sixteen d's at a time, by the second-order cost of missing
/// the ideal scales and minima. A minimum is rounded where it suits the scale as rounded.
LANES_FN SuperPair pick_super_pair(const GridSpec& spec, const IdealAffine& ideal, const SearchPlan& plan) {
  const int subs = spec.subs();
  const float most_scale = *std::max_element(ideal.scale, ideal.scale + subs);
  const float most_minimum = *std::max_element(ideal.minimum, ideal.minimum + subs);
  const F top_scale = set(static_cast<float>(spec.scale_high)),
          top_minimum = set(static_cast<float>(spec.min_high));
  SuperPair best{0, 0};
  float best_cost = 0x1p126F;
  for (size_t first = 0; first < plan.divisors.size(); first += 16) {
    const F d = to_half_and_back(set(most_scale) / load(plan.divisors.data() + first));
    const F inv_d = inverse(d);
    for (float divisor : plan.minimum_divisors) {
      const F m = to_half_and_back(set(most_minimum / divisor));
      const F inv_m = inverse(m);
      F cost = set(0);
      for (int j = 0; j < subs; ++j) {
        const F L = set(ideal.L[j]), LL = set(ideal.LL[j]), V = set(ideal.sum_v[j]);
        const F s = round(min(max(set(ideal.scale[j]) * inv_d, set(0)), top_scale));
        const F miss = d * s - set(ideal.scale[j]);
        const F wish = set(ideal.minimum[j]) + miss * set(ideal.L[j] / ideal.sum_v[j]);
        const F b = round(min(max(wish * inv_m, set(0)), top_minimum));
        const F miss_m = m * b - set(ideal.minimum[j]);
        cost = cost + (miss * miss * LL - set(2) * miss * miss_m * L + miss_m * miss_m * V);
      }
      alignas(64) float costs[16], ds[16], ms[16];
      store(costs, cost);
      store(ds, d);
      store(ms, m);
      for (int i = 0; i < 16; ++i)
        if (costs[i] < best_cost) {
          best_cost = costs[i];
          best = {ds[i], ms[i]};
        }
    }
  }
  return best;
}

struct LaneState {
  F d, m;            ///< shared by a super-block's lanes
  F scale, minimum;  ///< integers
};

template <int N, bool Weighted, class Grid>
LANES_INLINE F state_error(const Tile<N>& tile, const Grid& grid, const LaneState& s) {
  return error_of<N, Weighted, true>(tile, grid, s.d * s.scale, set(0) - s.m * s.minimum);
}

/// Tries the neighbours of each sub-block's integers on the true error; a changed scale brings the minimum that
/// suits it. Leaves the best in `state`, and returns the moments there.
template <int N, bool Weighted, class Grid>
LANES_FN Moments settle_pairs(const GridSpec& spec, const Tile<N>& tile, const Grid& grid, const F& sum_v,
                              int reach, LaneState& state) {
  const F top_scale = set(static_cast<float>(spec.scale_high)),
          top_minimum = set(static_cast<float>(spec.min_high));
  const F inv_m = inverse(state.m);
  const Moments at =
      evaluate<N, Weighted, true>(tile, grid, state.d * state.scale, set(0) - state.m * state.minimum);
  LaneState best = state;
  F best_error = at.error;
  const auto consider = [&](F scale, F minimum) LANES_LAMBDA {
    LaneState next{state.d, state.m, scale, round(min(max(minimum, set(0)), top_minimum))};
    const F error = state_error<N, Weighted>(tile, grid, next);
    const Mask better = error < best_error;
    best.scale = select(better, next.scale, best.scale);
    best.minimum = select(better, next.minimum, best.minimum);
    best_error = select(better, error, best_error);
  };
  const F mean_L = at.L / sum_v, wish = state.m * state.minimum - at.e / sum_v;
  consider(state.scale, wish * inv_m);
  for (int k = 1; k <= reach; ++k)
    for (float step : {-static_cast<float>(k), static_cast<float>(k)}) {
      const F scale = min(max(state.scale + set(step), set(0)), top_scale);
      consider(scale, (wish + state.d * (scale - state.scale) * mean_L) * inv_m);
    }
  for (float step : {-1.0F, 1.0F}) consider(best.scale, best.minimum + set(step));
  state = best;
  return evaluate<N, Weighted, true>(tile, grid, state.d * state.scale, set(0) - state.m * state.minimum);
}

/// Refits each super-block's d and m to its codes and integers: two equations in two unknowns.
LANES_FN void refit_pair(const Moments& s, const F& sum_v, const LaneState& state, int subs, SuperPair* pairs) {
  double aa[2], ab[2], bb[2], ea[2], eb[2];
  group_sums(state.scale * state.scale * s.LL, subs, aa);
  group_sums(state.scale * state.minimum * s.L, subs, ab);
  group_sums(state.minimum * state.minimum * sum_v, subs, bb);
  group_sums(state.scale * s.eL, subs, ea);
  group_sums(state.minimum * s.e, subs, eb);
  for (int g = 0; g < 16 / subs; ++g) {
    const double determinant = aa[g] * bb[g] - ab[g] * ab[g];
    if (determinant > 1e-9 * aa[g] * bb[g]) {
      pairs[g].d += static_cast<float>((ea[g] * bb[g] - eb[g] * ab[g]) / determinant);
      pairs[g].m += static_cast<float>((ea[g] * ab[g] - eb[g] * aa[g]) / determinant);
    } else if (aa[g] > 0) {
      pairs[g].d += static_cast<float>(ea[g] / aa[g]);
    } else if (bb[g] > 0) {
      pairs[g].m -= static_cast<float>(eb[g] / bb[g]);
    }
    pairs[g].d = half_to_float(float_to_half(pairs[g].d));
    pairs[g].m = half_to_float(float_to_half(pairs[g].m));
  }
}

/// Offsets cannot be positive when m is not negative. A super-block that lies mostly above zero is therefore
/// searched negated, and stored with both d and m negative. Returns -1 or 1 for each lane.
LANES_INLINE F orientation(const Range& range, int subs) {
  double above[2], below[2];
  const F over = max(range.low, set(0)), under = max(set(0) - range.high, set(0));
  group_sums(over * over * range.sum_v, subs, above);
  group_sums(under * under * range.sum_v, subs, below);
  float sign[2];
  for (int g = 0; g < 16 / subs; ++g) sign[g] = above[g] > below[g] ? -1.0F : 1.0F;
  return spread(sign, subs);
}

/// Each sub-block's own best scale and offset ≤ 0.
template <int N, bool Weighted, class Grid>
LANES_FN AffineFit ideal_fit(Tile<N>& tile, const Grid& grid, const SearchPlan& plan, Range range,
                             float steps) {
  range.low = min(range.low, set(0));
  centre<N>(tile, range.mean);
  AffineFit fit = best_range<N, Weighted>(tile, grid, plan, range, steps);
  centre<N>(tile, set(0) - range.mean);
  // Σ vwL follows from the unconstrained fit; without an offset it alone gives the scale.
  const F wL = fit.scale * fit.LL + fit.offset * fit.L;
  const Mask positive = fit.offset > set(0);
  fit.scale = select(positive, ratio(wL, fit.LL), fit.scale);
  fit.offset = select(positive, set(0), fit.offset);
  fit.scale = max(fit.scale, set(0));
  return fit;
}

template <int N, bool Weighted, class Grid>
LANES_FN void search_super_affine(const GridSpec& spec, Tile<N>& tile, const Grid& grid, const SearchPlan& plan,
                                  int blocks, GridParams* params) {
  const int subs = spec.subs();
  Range range = range_of<N, Weighted>(tile);
  const F sign = orientation(range, subs);
  for (int i = 0; i < N; ++i) store(tile.w + 16 * i, load(tile.w + 16 * i) * sign);
  range = range_of<N, Weighted>(tile);
  const AffineFit fit =
      ideal_fit<N, Weighted>(tile, grid, plan, range, static_cast<float>(spec.high - spec.low));

  alignas(64) float scale[16], minimum[16], L[16], LL[16], sum_v[16];
  store(scale, fit.scale);
  store(minimum, set(0) - fit.offset);
  store(L, fit.L);
  store(LL, fit.LL);
  store(sum_v, fit.sum_v);
  SuperPair pairs[2] = {};
  float ds[2] = {}, ms[2] = {};
  for (int g = 0; g < 16 / subs; ++g) {
    const int at = g * subs;
    pairs[g] = pick_super_pair(spec, {scale + at, minimum + at, L + at, LL + at, sum_v + at}, plan);
    ds[g] = pairs[g].d;
    ms[g] = pairs[g].m;
  }
  const F top_scale = set(static_cast<float>(spec.scale_high)),
          top_minimum = set(static_cast<float>(spec.min_high));
  LaneState state{spread(ds, subs), spread(ms, subs), set(0), set(0)};
  state.scale = round(min(max(fit.scale * inverse(state.d), set(0)), top_scale));
  const F wish = (state.d * state.scale - fit.scale) * fit.L / fit.sum_v - fit.offset;
  state.minimum = round(min(max(wish * inverse(state.m), set(0)), top_minimum));

  LaneState best = state;
  double best_error[2] = {HUGE_VAL, HUGE_VAL};
  for (int k = 0; k <= plan.refits; ++k) {
    const Moments s = settle_pairs<N, Weighted>(spec, tile, grid, range.sum_v, plan.reach, state);
    double error[2];
    group_sums(s.error, subs, error);
    float won[2] = {};
    for (int g = 0; g < 16 / subs; ++g) {
      won[g] = error[g] < best_error[g] ? 1.0F : 0.0F;
      best_error[g] = std::min(best_error[g], error[g]);
    }
    const Mask better = spread(won, subs) > set(0);
    best.d = select(better, state.d, best.d);
    best.m = select(better, state.m, best.m);
    best.scale = select(better, state.scale, best.scale);
    best.minimum = select(better, state.minimum, best.minimum);
    refit_pair(s, range.sum_v, state, subs, pairs);
    for (int g = 0; g < 16 / subs; ++g) {
      ds[g] = pairs[g].d;
      ms[g] = pairs[g].m;
    }
    state.d = spread(ds, subs);
    state.m = spread(ms, subs);
  }
  uint16_t d_halves[16], m_halves[16];
  int8_t scales[16], minima[16];
  store_half(d_halves, best.d * sign);
  store_half(m_halves, best.m * sign);
  store_int8(scales, best.scale);
  store_int8(minima, best.minimum);
  for (int g = 0; g < blocks; ++g) {
    params[g].d = d_halves[g * subs];
    params[g].m = m_halves[g * subs];
    std::copy_n(scales + g * subs, subs, params[g].scale);
    std::copy_n(minima + g * subs, subs, params[g].min);
  }
}

}  // namespace
}  // namespace lissom::LANES
