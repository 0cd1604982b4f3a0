#pragma once
// Rounding and error of sixteen sub-blocks, one in each lane. Included by search_impl.h.

#include <algorithm>
#include <cstdint>

#include "codec/search/search.h"
#include "codec/search/tables.h"

namespace lissom::LANES {
namespace {

/// Sixteen sub-blocks of N weights: weight i of lane l lies at w[16·i + l].
template <int N>
struct Tile {
  alignas(64) float w[N * 16];
  alignas(64) float v[N * 16];
};

/// level(code) = code, between two limits.
struct Linear {
  F low, high;
  LANES_INLINE explicit Linear(const GridSpec& spec)
      : low(set(static_cast<float>(spec.low))), high(set(static_cast<float>(spec.high))) {}
  [[nodiscard]] LANES_INLINE F level(F t) const { return round(min(max(t, low), high)); }
  [[nodiscard]] LANES_INLINE F code(F t) const { return level(t); }
};

/// The sixteen uneven levels of IQ4.
struct Uneven {
  LANES_INLINE explicit Uneven(const GridSpec&) {}
  [[nodiscard]] LANES_INLINE F bucket(F t) const {
    return min(max((t + set(128)) * set(0.125F), set(0)), set(31));
  }
  [[nodiscard]] LANES_INLINE F level(F t) const {
    const F b = bucket(t);
    return select(t > lookup32(kIQ4Table.midpoint.data(), b), lookup32(kIQ4Table.high_level.data(), b),
                  lookup32(kIQ4Table.low_level.data(), b));
  }
  [[nodiscard]] LANES_INLINE F code(F t) const {
    const F b = bucket(t);
    return select(t > lookup32(kIQ4Table.midpoint.data(), b), lookup32(kIQ4Table.high_code.data(), b),
                  lookup32(kIQ4Table.low_code.data(), b));
  }
};

/// The eight magnitudes of a four-bit float, doubled: 0, 1, 2, 3, 4, 6, 8, 12; code 8 on is negative.
struct FourBitFloat {
  LANES_INLINE explicit FourBitFloat(const GridSpec&) {}
  /// Steps are 1 below 4, 2 below 8 and 4 above.
  [[nodiscard]] LANES_INLINE F step(F magnitude) const {
    return select(magnitude < set(4), set(1), select(magnitude < set(8), set(2), set(4)));
  }
  [[nodiscard]] LANES_INLINE F level(F t) const {
    const F magnitude = min(abs(t), set(12)), by = step(magnitude);
    const F inv = select(magnitude < set(4), set(1), select(magnitude < set(8), set(0.5F), set(0.25F)));
    const F whole = round(magnitude * inv) * by;
    return select(t < set(0), set(0) - whole, whole);
  }
  [[nodiscard]] LANES_INLINE F code(F t) const {
    const F signed_level = level(t), magnitude = abs(signed_level), by = step(magnitude);
    const F index = magnitude / by + select(by > set(1), by, set(0));
    return select(signed_level < set(0), index + set(8), index);
  }
};

/// 1 / x, and 0 where x is too small to be any codec's scale.
LANES_INLINE F inverse(F x) {
  return select(abs(x) > set(0x1p-40F), set(1) / x, set(0));
}

LANES_INLINE F ratio(F numerator, F denominator) {
  return select(denominator > set(0x1p-100F), numerator / denominator, set(0));
}

/// Weight i's importance, or 1.
template <bool Weighted>
LANES_INLINE F weigh(const float* v, int i, F x) {
  if constexpr (Weighted) {
    return load(v + 16 * i) * x;
  } else {
    (void)v, (void)i;
    return x;
  }
}

/// What an evaluation of ŵ = scale·level + offset tells: the weighted error E, and the sums over v that a
/// better scale and offset for the same codes follow from (e = w - ŵ, L = level).
struct Moments {
  F error, e, eL, L, LL;
};

template <int N, bool Weighted, bool Offset, class Grid>
LANES_FN Moments evaluate(const Tile<N>& tile, const Grid& grid, const F& scale, const F& offset) {
  Moments s{set(0), set(0), set(0), set(0), set(0)};
  const F inv = inverse(scale);
  for (int i = 0; i < N; ++i) {
    const F x = load(tile.w + 16 * i);
    const F level = grid.level((Offset ? x - offset : x) * inv);
    const F e = Offset ? x - (scale * level + offset) : x - scale * level;
    const F ve = weigh<Weighted>(tile.v, i, e), vL = weigh<Weighted>(tile.v, i, level);
    s.error = s.error + ve * e;
    s.eL = s.eL + ve * level;
    s.LL = s.LL + vL * level;
    if constexpr (Offset) {
      s.e = s.e + ve;
      s.L = s.L + vL;
    }
  }
  return s;
}

template <int N, bool Weighted, bool Offset, class Grid>
LANES_FN void error_into(const Tile<N>& tile, const Grid& grid, const F& scale, const F& offset, F& result) {
  F error = set(0);
  const F inv = inverse(scale);
  for (int i = 0; i < N; ++i) {
    const F x = load(tile.w + 16 * i);
    const F level = grid.level((Offset ? x - offset : x) * inv);
    const F e = Offset ? x - (scale * level + offset) : x - scale * level;
    error = error + weigh<Weighted>(tile.v, i, e) * e;
  }
  result = error;
}

template <int N, bool Weighted, bool Offset, class Grid>
LANES_INLINE F error_of(const Tile<N>& tile, const Grid& grid, F scale, F offset) {
  F error;
  error_into<N, Weighted, Offset>(tile, grid, scale, offset, error);
  return error;
}

/// Range, and where Weighted the sum of v and the weighted mean, of each lane.
struct Range {
  F low, high, sum_v, mean;
};

template <int N, bool Weighted>
LANES_FN Range range_of(const Tile<N>& tile) {
  Range r{load(tile.w), load(tile.w), set(0), set(0)};
  F sum = set(0);
  for (int i = 0; i < N; ++i) {
    const F x = load(tile.w + 16 * i);
    r.low = min(r.low, x);
    r.high = max(r.high, x);
    sum = sum + weigh<Weighted>(tile.v, i, x);
    r.sum_v = r.sum_v + weigh<Weighted>(tile.v, i, set(1));
  }
  r.mean = sum / r.sum_v;
  return r;
}

/// Fills lanes 0 … lanes-1 from consecutive sub-blocks, the rest with copies of the last.
template <int N>
LANES_INLINE void load_lanes(const float* const* in, float* out) {
  for (int c = 0; c < N; c += 8) {
    transpose8(in, c, out + 16 * c);
    transpose8(in + 8, c, out + 16 * c + 8);
  }
}

template <int N, bool Weighted>
LANES_FN void load_tile(const GridSpec& spec, const float* w, const float* v, int64_t v_blocks,
                        int64_t first_block, int64_t n_blocks, Tile<N>& tile) {
  const int subs = spec.subs();
  const float* rows[16];
  for (int lane = 0; lane < 16; ++lane) {
    const int64_t block = std::min(first_block + lane / subs, n_blocks - 1);
    rows[lane] = w + block * spec.block + lane % subs * N;
  }
  load_lanes<N>(rows, tile.w);
  if constexpr (Weighted) {
    for (int lane = 0; lane < 16; ++lane) {
      const int64_t block = std::min(first_block + lane / subs, n_blocks - 1) % v_blocks;
      rows[lane] = v + block * spec.block + lane % subs * N;
    }
    load_lanes<N>(rows, tile.v);
  }
}

/// A value of each super-block in all of its lanes.
LANES_INLINE F spread(const float* values, int subs) {
  alignas(64) float lanes[16];
  for (int i = 0; i < 16; ++i) lanes[i] = values[i / subs];
  return load(lanes);
}

/// Sums of each super-block's lanes, in order.
LANES_INLINE void group_sums(F x, int subs, double* sums) {
  alignas(64) float lanes[16];
  store(lanes, x);
  for (int g = 0; g < 16 / subs; ++g) {
    sums[g] = 0;
    for (int j = 0; j < subs; ++j) sums[g] += static_cast<double>(lanes[g * subs + j]);
  }
}

}  // namespace
}  // namespace lissom::LANES
