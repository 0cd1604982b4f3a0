#pragma once
// The nearest points of sixteen times eight weights, one of them in each lane. Included by search_impl.h.
//
// With y = w / scale, a point p costs Σ v·(y - p)² = Σ v·y² + Q - 2·A where A = Σ v·y·p and Q = Σ v·p². The
// candidates are the points nearest to y rounded weight by weight. Where signs are apart, y and p are
// magnitudes; an odd number of minus signs with SignBits::even then costs one sign: that of the smallest v·y·p.

#include "codec/codebook/target.h"
#include "codec/search/lane_grid.h"

namespace lissom::LANES {
namespace {

/// What is the same for all weights of a codec.
struct Codepoints {
  const CodebookSpec& spec;
  const PointWord* nearest;
  int candidates;  ///< of Codebook::kNearest
  Table8 levels;
  F first, inverse_step, top;  ///< rounding of one weight to a place among the levels

  LANES_INLINE Codepoints(const CodebookSpec& s, const Codebook& book, int n)
      : spec(s), nearest(book.nearest()), candidates(n) {
    // With shifts, places 4 … 6 are those of the other shift.
    alignas(64) float all[8];
    for (int i = 0; i < 8; ++i) all[i] = s.levels[i];
    if (s.shifts != ShiftBits::none)
      for (int i = 0; i < 3; ++i) all[4 + i] = -s.levels[2 - i];
    levels = load_table8(all);
    first = set(s.levels[0]);
    inverse_step = set(static_cast<float>(s.base - 1) / (s.levels[s.base - 1] - s.levels[0]));
    top = set(static_cast<float>(s.base - 1));
  }
};

/// Eight weights (or four) of sixteen lanes: weight i of lane l at [16·i + l].
struct Weights {
  const float *a, *u, *v;  ///< w or |w|; v·a; v
};

/// A point with its sums; `cost` is Q - 2·A/scale.
struct Best {
  F cost, A, Q;
  U word;
};
LANES_INLINE Best no_point() {
  return {set(0x1p126F), set(0), set(1), set_index(0)};
}
LANES_INLINE void keep(const F& cost, const F& A, const F& Q, const U& word, Best& best) {
  const Mask better = cost < best.cost;
  best.cost = select(better, cost, best.cost);
  best.A = select(better, A, best.A);
  best.Q = select(better, Q, best.Q);
  best.word = select(better, word, best.word);
}

/// Looks for better points than `plain` and, where Even, than `flipped`: with the cheapest sign turned. t:
/// inverse scales; negative: 1 in lanes with the shift -1/8.
template <int Dims, bool Even, bool Shifted>
LANES_INLINE void nearest_points(const Codepoints& points, const Weights& w, const F& t, const F& negative,
                                 Best& plain, Best& flipped) {
  F first = points.first;
  U other = set_index(0);
  if constexpr (Shifted) {
    const Mask mirrored = negative > set(0);
    first = select(mirrored, set(-points.spec.levels[2]), first);
    other = select(mirrored, set_index(0x44444444U), other);
  }
  const F base = set(static_cast<float>(points.spec.base));
  F number = set(0);
  for (int i = Dims - 1; i >= 0; --i) {
    const F place = (load(w.a + 16 * i) * t - first) * points.inverse_step;
    number = number * base + round(min(max(place, set(0)), points.top));
  }
  const U at = to_index(number * set(static_cast<float>(Codebook::kNearest)));
  const F twice = t + t;
  for (int k = 0; k < points.candidates; ++k) {
    const U word = gather(points.nearest + k, at) + other;
    U digits = word;
    F A = set(0), Q = set(0), least = set(0x1p126F);
#pragma GCC unroll 8
    for (int i = 0; i < Dims; ++i) {
      const F p = lookup8(points.levels, digits), up = load(w.u + 16 * i) * p;
      A = A + up;
      Q = Q + load(w.v + 16 * i) * p * p;
      if constexpr (Even) least = min(least, up);
      digits = next_digit(digits);
    }
    keep(Q - twice * A, A, Q, word, plain);
    if constexpr (Even) {
      const F turned = A - (least + least);
      keep(Q - twice * turned, turned, Q, word, flipped);
    }
  }
}

/// What the best points of eight weights give together.
struct Octet {
  F A, Q;
  U word[2];   ///< the point, or the two points of four
  F flip;      ///< 1 or 2: the point of which a sign is turned; 0: none
  F negative;  ///< 1: the shift is -1/8
};

template <int Dims, bool Even, ShiftBits Shifts>
LANES_INLINE Octet nearest_octet(const Codepoints& points, const Weights& w, const F& t, const F& odd,
                                 const F& negative) {
  constexpr bool kShifted = Shifts != ShiftBits::none;
  Octet octet{set(0), set(0), {set_index(0), set_index(0)}, set(0), negative};
  Best plain = no_point(), flipped = no_point();
  if constexpr (Shifts == ShiftBits::eight) {
    nearest_points<Dims, Even, kShifted>(points, w, t, set(0), plain, flipped);
    const F before = plain.cost;
    nearest_points<Dims, Even, kShifted>(points, w, t, set(1), plain, flipped);
    octet.negative = select(plain.cost < before, set(1), set(0));
  } else {
    nearest_points<Dims, Even, kShifted>(points, w, t, negative, plain, flipped);
  }
  if constexpr (Even) octet.flip = odd;
  if constexpr (Dims == 8) {
    const Mask turn = odd > set(0);
    octet.A = Even ? select(turn, flipped.A, plain.A) : plain.A;
    octet.Q = Even ? select(turn, flipped.Q, plain.Q) : plain.Q;
    octet.word[0] = Even ? select(turn, flipped.word, plain.word) : plain.word;
  } else {
    const Weights rest{w.a + 64, w.u + 64, w.v + 64};
    Best plain2 = no_point(), flipped2 = no_point();
    nearest_points<Dims, Even, kShifted>(points, rest, t, negative, plain2, flipped2);
    if constexpr (Even) {
      const Mask second = plain.cost + flipped2.cost<flipped.cost + plain2.cost, turn = odd> set(0);
      const F in_second = select(second, set(1), set(0));
      octet.flip = odd + odd * in_second;
      const Mask first_flips = odd - in_second > set(0), second_flips = odd + in_second > set(1);
      (void)turn;
      plain.A = select(first_flips, flipped.A, plain.A);
      plain.Q = select(first_flips, flipped.Q, plain.Q);
      plain.word = select(first_flips, flipped.word, plain.word);
      plain2.A = select(second_flips, flipped2.A, plain2.A);
      plain2.Q = select(second_flips, flipped2.Q, plain2.Q);
      plain2.word = select(second_flips, flipped2.word, plain2.word);
    }
    octet.A = plain.A + plain2.A;
    octet.Q = plain.Q + plain2.Q;
    octet.word[0] = plain.word;
    octet.word[1] = plain2.word;
  }
  return octet;
}

/// 1 in lanes where an odd number of eight weights is negative.
LANES_INLINE F odd_signs(const float* w) {
  F sign = set(1);
  for (int i = 0; i < 8; ++i) sign = select(load(w + 16 * i) < set(0), set(0) - sign, sign);
  return select(sign < set(0), set(1), set(0));
}

}  // namespace
}  // namespace lissom::LANES
