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

/// Tries scales that put the weight of largest magnitude at each of `positions` on the level axis. A position
/// is judged by the error that remains when the scale is refitted to the codes it gives, which is E(0) - (Σ
/// vwL)² / Σ vL².
template <int N, bool Weighted, class Grid>
LANES_FN ScaleFit screen_scales(const Tile<N>& tile, const Grid& grid, std::span<const float> positions) {
  const Range range = range_of<N, false>(tile);
  const F extreme = select(set(0) - range.low > range.high, range.low, range.high);
  const F inv = inverse(extreme);
  F best_wL = set(0), best_LL = set(1);
  constexpr int kTogether = 4;
  for (size_t first = 0; first < positions.size(); first += kTogether) {
    F t[kTogether], wL[kTogether], LL[kTogether];
    for (size_t k = 0; k < kTogether; ++k) {
      t[k] = set(positions[std::min(first + k, positions.size() - 1)]) * inv;
      wL[k] = LL[k] = set(0);
    }
    for (int i = 0; i < N; ++i) {
      const F x = load(tile.w + 16 * i);
      for (int k = 0; k < kTogether; ++k) {
        const F level = grid.level(x * t[k]);
        const F vL = weigh<Weighted>(tile.v, i, level);
        wL[k] = wL[k] + vL * x;
        LL[k] = LL[k] + vL * level;
      }
    }
    for (int k = 0; k < kTogether; ++k) {
      const Mask better = wL[k] * wL[k] * best_LL > best_wL * best_wL * LL[k];
      best_wL = select(better, wL[k], best_wL);
      best_LL = select(better, LL[k], best_LL);
    }
  }
  return {ratio(best_wL, best_LL), best_LL};
}

/// A sub-block's scale and offset, with the second moments of its levels: how much a change of either costs.
struct AffineFit {
  F scale, offset, L, LL, sum_v;
};

/// Tries ranges shrunk at both ends; each is judged with scale and offset refitted to its codes. `tile` must be
/// centred on range.mean, or the sums would cancel.
template <int N, bool Weighted, class Grid>
LANES_FN AffineFit screen_ranges(const Tile<N>& tile, const Grid& grid, const Range& range, float steps,
                                 std::span<const Shrink> shrinks) {
  const F width = range.high - range.low;
  const F inv_width = inverse(width) * set(steps), inv_v = set(1) / range.sum_v;
  const F low = range.low - range.mean;
  F best_wL = set(0), best_var = set(1), best_L = set(0), best_LL = set(0);
  constexpr size_t kTogether = 4;
  for (size_t first = 0; first < shrinks.size(); first += kTogether) {
    F start[kTogether], inv[kTogether], wL[kTogether], L[kTogether], LL[kTogether];
    for (size_t k = 0; k < kTogether; ++k) {
      const Shrink& s = shrinks[std::min(first + k, shrinks.size() - 1)];
      start[k] = low + set(s.low) * width;
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
      const F var = LL[k] - L[k] * L[k] * inv_v;
      const Mask better = wL[k] * wL[k] * best_var > best_wL * best_wL * var;
      best_wL = select(better, wL[k], best_wL);
      best_var = select(better, var, best_var);
      best_L = select(better, L[k], best_L);
      best_LL = select(better, LL[k], best_LL);
    }
  }
  AffineFit fit{ratio(best_wL, best_var), set(0), best_L, best_LL, range.sum_v};
  fit.offset = range.mean - fit.scale * best_L * inv_v;
  return fit;
}

template <int N>
LANES_FN void centre(Tile<N>& tile, const F& by) {
  for (int i = 0; i < N; ++i) store(tile.w + 16 * i, load(tile.w + 16 * i) - by);
}

/// A scale that is stored as f16: screens, then refits and rounds by turns, and keeps the best as stored.
template <int N, bool Weighted, class Grid>
LANES_FN void search_scale(const Tile<N>& tile, const Grid& grid, std::span<const float> positions, int refits,
                           uint16_t* halves) {
  F d = to_half_and_back(screen_scales<N, Weighted>(tile, grid, positions).scale);
  F best = set(0), best_error = set(0x1p126F);
  for (int k = 0; k <= refits; ++k) {
    const Moments s = evaluate<N, Weighted, false>(tile, grid, d, set(0));
    const Mask better = s.error < best_error;
    best = select(better, d, best);
    best_error = select(better, s.error, best_error);
    d = to_half_and_back(d + ratio(s.eL, s.LL));
  }
  store_half(halves, best);
}

struct AffineHalves {
  F d, m;
};

template <int N, bool Weighted, class Grid>
LANES_FN AffineHalves search_affine(Tile<N>& tile, const Grid& grid, float steps,
                                    std::span<const Shrink> shrinks, int refits) {
  const Range range = range_of<N, Weighted>(tile);
  centre<N>(tile, range.mean);
  const AffineFit fit = screen_ranges<N, Weighted>(tile, grid, range, steps, shrinks);
  AffineHalves now{to_half_and_back(fit.scale), set(0)};
  // The offset that suits the scale as rounded.
  now.m = to_half_and_back(range.mean - now.d * fit.L / range.sum_v);
  AffineHalves best = now;
  F best_error = set(0x1p126F);
  for (int k = 0; k <= refits; ++k) {
    // The tile is centred: so is the grid.
    const Moments s = evaluate<N, Weighted, true>(tile, grid, now.d, now.m - range.mean);
    const Mask better = s.error < best_error;
    best.d = select(better, now.d, best.d);
    best.m = select(better, now.m, best.m);
    best_error = select(better, s.error, best_error);
    const F var = s.LL - s.L * s.L / range.sum_v;
    const F step = ratio(s.eL - s.e * s.L / range.sum_v, var);
    const F d = to_half_and_back(now.d + step);
    now.m = to_half_and_back(now.m + (s.e - (d - now.d) * s.L) / range.sum_v);
    now.d = d;
  }
  return best;
}

}  // namespace
}  // namespace lissom::LANES
