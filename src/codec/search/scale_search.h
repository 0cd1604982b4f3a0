#pragma once
// The best scale, and the best scale and offset, of sixteen independent sub-blocks. Included by
// search_impl.h.

#include <span>

#include "codec/search/lane_grid.h"

namespace lissom::LANES {
namespace {

/// A sub-block's scale with the sum of v·level² at its codes: how much a change of the scale costs.
struct ScaleFit {
  F scale, LL;
};

/// Keeps in `best` the better of it and the scales 1 / (inv · factors). A scale is judged by the error that
/// remains when it is refitted to the codes it gives, which is E(0) - (Σ vwL)² / Σ vL².
template <int N, bool Weighted, class Grid>
LANES_FN void screen_scales(const Tile<N>& tile, const Grid& grid, const F& inv, std::span<const float> factors,
                            ScaleFit& best) {
  F best_wL = best.scale * best.LL, best_LL = best.LL;
  constexpr size_t kTogether = 4;
  for (size_t first = 0; first < factors.size(); first += kTogether) {
    F t[kTogether], wL[kTogether], LL[kTogether];
    for (size_t k = 0; k < kTogether; ++k) {
      t[k] = set(factors[std::min(first + k, factors.size() - 1)]) * inv;
      wL[k] = LL[k] = set(0);
    }
    for (int i = 0; i < N; ++i) {
      const F x = load(tile.w + 16 * i);
      for (size_t k = 0; k < kTogether; ++k) {
        const F level = grid.level(x * t[k]);
        const F vL = weigh<Weighted>(tile.v, i, level);
        wL[k] = wL[k] + vL * x;
        LL[k] = LL[k] + vL * level;
      }
    }
    for (size_t k = 0; k < kTogether; ++k) {
      const Mask better = wL[k] * wL[k] * best_LL > best_wL * best_wL * LL[k];
      best_wL = select(better, wL[k], best_wL);
      best_LL = select(better, LL[k], best_LL);
    }
  }
  best = {ratio(best_wL, best_LL), best_LL};
}

/// The weight of largest magnitude.
template <int N>
LANES_INLINE F extreme_of(const Tile<N>& tile) {
  const Range range = range_of<N, false>(tile);
  return select(set(0) - range.low > range.high, range.low, range.high);
}

/// First over scales that put the largest weight at each of the plan's positions, then closely around the best.
template <int N, bool Weighted, class Grid>
LANES_INLINE ScaleFit best_scale(const Tile<N>& tile, const Grid& grid, const SearchPlan& plan, F extreme) {
  ScaleFit best{set(0), set(1)};
  screen_scales<N, Weighted>(tile, grid, inverse(extreme), plan.positions, best);
  if (!plan.nearby.empty()) screen_scales<N, Weighted>(tile, grid, inverse(best.scale), plan.nearby, best);
  return best;
}

/// A sub-block's scale and offset, with the second moments of its levels: how much a change of either costs.
struct AffineFit {
  F scale, offset, L, LL, sum_v;
};

/// What ranges are tried on: their two ends, less the lane's mean, on which the tile must be centred or the
/// sums would cancel.
struct Ends {
  F low, high, inv_v;
};

/// The same with an offset: keeps in `best` (offset less the mean) the better of it and the ranges shrunk at
/// both ends, each judged with scale and offset refitted to its codes.
template <int N, bool Weighted, class Grid>
LANES_FN void screen_ranges(const Tile<N>& tile, const Grid& grid, const Ends& ends, float steps,
                            std::span<const Shrink> shrinks, AffineFit& best) {
  const F width = ends.high - ends.low, inv_width = inverse(width) * set(steps);
  F best_L = best.L, best_LL = best.LL;
  F best_var = max(best.LL - best.L * best.L * ends.inv_v, set(0x1p-100F)), best_wL = best.scale * best_var;
  constexpr size_t kTogether = 4;
  for (size_t first = 0; first < shrinks.size(); first += kTogether) {
    F start[kTogether], inv[kTogether], wL[kTogether], L[kTogether], LL[kTogether];
    for (size_t k = 0; k < kTogether; ++k) {
      const Shrink& s = shrinks[std::min(first + k, shrinks.size() - 1)];
      start[k] = ends.low + set(s.low) * width;
      inv[k] = inv_width * set(1.0F / (1.0F - s.low - s.high));
      wL[k] = L[k] = LL[k] = set(0);
    }
    for (int i = 0; i < N; ++i) {
      const F x = load(tile.w + 16 * i);
      for (size_t k = 0; k < kTogether; ++k) {
        const F level = grid.level((x - start[k]) * inv[k]);
        const F vL = weigh<Weighted>(tile.v, i, level);
        wL[k] = wL[k] + vL * x;
        L[k] = L[k] + vL;
        LL[k] = LL[k] + vL * level;
      }
    }
    for (size_t k = 0; k < kTogether; ++k) {
      const F var = LL[k] - L[k] * L[k] * ends.inv_v;
      const Mask better = wL[k] * wL[k] * best_var > best_wL * best_wL * var;
      best_wL = select(better, wL[k], best_wL);
      best_var = select(better, var, best_var);
      best_L = select(better, L[k], best_L);
      best_LL = select(better, LL[k], best_LL);
    }
  }
  best.scale = ratio(best_wL, best_var);
  best.L = best_L;
  best.LL = best_LL;
  best.offset = set(0) - best.scale * best_L * ends.inv_v;
}

/// First over the plan's shrunk ranges, then closely around the best.
template <int N, bool Weighted, class Grid>
LANES_INLINE AffineFit best_range(const Tile<N>& tile, const Grid& grid, const SearchPlan& plan,
                                  const Range& range, float steps) {
  AffineFit best{set(0), set(0), set(0), set(0), range.sum_v};
  Ends ends{range.low - range.mean, range.high - range.mean, set(1) / range.sum_v};
  screen_ranges<N, Weighted>(tile, grid, ends, steps, plan.shrinks, best);
  if (!plan.nearby_shrinks.empty()) {
    ends.low = best.offset;
    ends.high = best.offset + best.scale * set(steps);
    screen_ranges<N, Weighted>(tile, grid, ends, steps, plan.nearby_shrinks, best);
  }
  best.offset = best.offset + range.mean;
  return best;
}

template <int N>
LANES_FN void centre(Tile<N>& tile, const F& by) {
  for (int i = 0; i < N; ++i) store(tile.w + 16 * i, load(tile.w + 16 * i) - by);
}

/// A scale that is stored as f16: the plain choice (the largest weight on the last level) and the best of the
/// search, then refitted and rounded by turns; the best as stored wins.
template <int N, bool Weighted, class Grid>
LANES_FN void search_scale(const Tile<N>& tile, const Grid& grid, const SearchPlan& plan, uint16_t* halves) {
  const F extreme = extreme_of(tile);
  F best = to_half_and_back(extreme / set(plan.plain_position));
  F best_error = error_of<N, Weighted, false>(tile, grid, best, set(0));
  F d = to_half_and_back(best_scale<N, Weighted>(tile, grid, plan, extreme).scale);
  for (int k = 0; k <= plan.refits; ++k) {
    const Moments s = evaluate<N, Weighted, false>(tile, grid, d, set(0));
    const Mask better = s.error < best_error;
    best = select(better, d, best);
    best_error = select(better, s.error, best_error);
    d = to_half_and_back(d + ratio(s.eL, s.LL));
  }
  store_half(halves, best);
}

/// A scale out of a list: the best of the search, then those next to it in the list on the true error.
template <int N, bool Weighted, class Grid>
LANES_FN void search_listed_scale(const GridSpec& spec, const Tile<N>& tile, const Grid& grid,
                                  const SearchPlan& plan, uint8_t* codes) {
  const F ideal = abs(best_scale<N, Weighted>(tile, grid, plan, extreme_of(tile)).scale);
  alignas(64) float lanes[16], scales[16], errors[16], best_errors[16];
  store(lanes, ideal);
  int start[16];
  for (int i = 0; i < 16; ++i) {
    int low = spec.scale_low, high = spec.scale_high;
    while (low < high) {
      const int middle = (low + high) / 2;
      if (spec.scale_of(static_cast<uint8_t>(middle)) < lanes[i])
        low = middle + 1;
      else
        high = middle;
    }
    start[i] = low;
  }
  for (int k = plan.reach; k >= -plan.reach; --k) {
    for (int i = 0; i < 16; ++i)
      scales[i] =
          spec.scale_of(static_cast<uint8_t>(std::clamp(start[i] + k, spec.scale_low, spec.scale_high)));
    store(errors, error_of<N, Weighted, false>(tile, grid, load(scales), set(0)));
    for (int i = 0; i < 16; ++i)
      if (k == plan.reach || errors[i] < best_errors[i]) {
        best_errors[i] = errors[i];
        codes[i] = static_cast<uint8_t>(std::clamp(start[i] + k, spec.scale_low, spec.scale_high));
      }
  }
}

struct AffineHalves {
  F d, m;
};

template <int N, bool Weighted, class Grid>
LANES_FN AffineHalves search_affine(Tile<N>& tile, const Grid& grid, const SearchPlan& plan, float steps) {
  const Range range = range_of<N, Weighted>(tile);
  AffineHalves best{to_half_and_back((range.high - range.low) / set(steps)), to_half_and_back(range.low)};
  F best_error = error_of<N, Weighted, true>(tile, grid, best.d, best.m);
  centre<N>(tile, range.mean);
  const AffineFit fit = best_range<N, Weighted>(tile, grid, plan, range, steps);
  centre<N>(tile, set(0) - range.mean);
  AffineHalves now{to_half_and_back(fit.scale), set(0)};
  now.m = to_half_and_back(range.mean - now.d * fit.L / range.sum_v);  // what suits the scale as rounded
  for (int k = 0; k <= plan.refits; ++k) {
    const Moments s = evaluate<N, Weighted, true>(tile, grid, now.d, now.m);
    const Mask better = s.error < best_error;
    best.d = select(better, now.d, best.d);
    best.m = select(better, now.m, best.m);
    best_error = select(better, s.error, best_error);
    const F var = s.LL - s.L * s.L / range.sum_v;
    const F d = to_half_and_back(now.d + ratio(s.eL - s.e * s.L / range.sum_v, var));
    now.m = to_half_and_back(now.m + (s.e - (d - now.d) * s.L) / range.sum_v);
    now.d = d;
  }
  if constexpr (Weighted) {
    // Where the codes do not fill their range, the same grid may start a step lower or higher, and there m may
    // round better to f16.
    const AffineHalves start = best;
    for (float step : {-1.0F, 1.0F}) {
      F m = start.m + set(step) * start.d;
      m = to_half_and_back(m + evaluate<N, Weighted, true>(tile, grid, start.d, m).e / range.sum_v);
      const F error = error_of<N, Weighted, true>(tile, grid, start.d, m);
      const Mask better = error < best_error;
      best.m = select(better, m, best.m);
      best_error = select(better, error, best_error);
    }
  }
  return best;
}

}  // namespace
}  // namespace lissom::LANES
