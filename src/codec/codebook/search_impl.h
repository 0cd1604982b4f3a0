#pragma once
// The two entries of a CodebookTarget. Included after a lanes header, by one .cpp for each instruction set.

#include <algorithm>
#include <cmath>

#include "codec/codebook/nearest.h"

namespace lissom::LANES {
namespace {

constexpr int kScreened = 6;  ///< candidates while scales are only compared

/// Sixteen sub-blocks of N weights.
template <int N>
struct CodebookTile {
  alignas(64) float a[N * 16];
  alignas(64) float u[N * 16];
  alignas(64) float v[N * 16];
  alignas(64) float odd[N / 8 * 16];
};

template <int N>
LANES_FN void load_codebook_tile(bool magnitudes, const float* w, const float* v, int64_t v_blocks,
                                 int64_t first_block, int64_t n_blocks, CodebookTile<N>& tile) {
  constexpr int kSubs = 256 / N;
  const float* rows[16];
  for (int lane = 0; lane < 16; ++lane)
    rows[lane] = w + std::min(first_block + lane / kSubs, n_blocks - 1) * 256 + lane % kSubs * N;
  load_lanes<N>(rows, tile.a);
  if (v != nullptr) {
    for (int lane = 0; lane < 16; ++lane)
      rows[lane] = v + std::min(first_block + lane / kSubs, n_blocks - 1) % v_blocks * 256 + lane % kSubs * N;
    load_lanes<N>(rows, tile.v);
  } else {
    std::fill_n(tile.v, N * 16, 1.0F);
  }
  for (int o = 0; o < N / 8; ++o) store(tile.odd + 16 * o, odd_signs(tile.a + 128 * o));
  for (int i = 0; i < N; ++i) {
    const F x = load(tile.a + 16 * i), a = magnitudes ? abs(x) : x;
    store(tile.a + 16 * i, a);
    store(tile.u + 16 * i, load(tile.v + 16 * i) * a);
  }
}

/// A = Σ v·w·level and Q = Σ v·level² of whole sub-blocks at their nearest points.
struct Sums {
  F A, Q;
};

template <int N, int Dims, bool Even, ShiftBits Shifts>
LANES_FN void sum_up(const Codepoints& points, const CodebookTile<N>& tile, const F& t, const F& negative,
                     Sums& sums) {
  sums = {set(0), set(0)};
  for (int o = 0; o < N / 8; ++o) {
    const Weights w{tile.a + 128 * o, tile.u + 128 * o, tile.v + 128 * o};
    const Octet octet =
        nearest_octet<Dims, Even, Shifts>(points, w, t, Even ? load(tile.odd + 16 * o) : set(0), negative);
    sums.A = sums.A + octet.A;
    sums.Q = sums.Q + octet.Q;
  }
}

/// Each sub-block's own best scale A / Q, and its shift.
struct Ideal {
  F A, Q, negative;
};

template <int N, int Dims, bool Even, ShiftBits Shifts>
LANES_FN void find_ideal(const Codepoints& points, const CodebookTile<N>& tile, Ideal& best) {
  const CodebookSpec& spec = points.spec;
  F extreme = set(0);
  for (int i = 0; i < N; ++i) extreme = max(extreme, abs(load(tile.a + 16 * i)));
  const F inv = inverse(extreme);
  best = {set(0), set(1), set(0)};
  const auto attempt = [&](const F& t, const F& negative) LANES_LAMBDA {
    Sums sums;
    sum_up<N, Dims, Even, Shifts>(points, tile, t, negative, sums);
    const Mask better = sums.A * sums.A * best.Q > best.A * best.A * sums.Q;
    best.A = select(better, sums.A, best.A);
    best.Q = select(better, sums.Q, best.Q);
    best.negative = select(better, negative, best.negative);
  };
  const float top = spec.levels[spec.base - 1];
  const float step = (spec.last_position - spec.first_position) / static_cast<float>(spec.positions - 1);
  for (int i = 0; i < spec.positions; ++i) {
    const F t = set(top * (spec.first_position + step * static_cast<float>(i))) * inv;
    attempt(t, set(0));
    if (Shifts == ShiftBits::sub) attempt(t, set(1));
  }
  // All on the lowest level: what a sub-block of equal weights wants.
  if (spec.signs != SignBits::none) attempt(set(spec.levels[0]) * inv, set(0));
  for (const float near : {0.97F, 1.03F, 1.0F}) {
    const F t = set(near) * inverse(ratio(best.A, best.Q)), negative = best.negative;
    attempt(t, negative);
  }
}

/// d, of one super-block, for which the ideal scales become odd multiples with the least damage.
LANES_FN float pick_odd_scale(const CodebookSpec& spec, const float* ideal, const float* Q) {
  const float most = *std::max_element(ideal, ideal + spec.subs());
  const F top = set(static_cast<float>(spec.max_s));
  alignas(64) float divisors[16], costs[16], scales[16];
  float best = 0, best_cost = 0x1p126F;
  for (int round_of = 0; round_of < 2; ++round_of) {
    for (int i = 0; i < 16; ++i)
      divisors[i] =
          static_cast<float>(2 * spec.max_s + 1) * (1.03F - 0.02F * static_cast<float>(16 * round_of + i));
    const F d = to_half_and_back(set(most / spec.factor) / load(divisors)), unit = d * set(spec.factor);
    const F inv = inverse(unit);
    F cost = set(0);
    for (int j = 0; j < spec.subs(); ++j) {
      const F s = round(min(max((set(ideal[j]) * inv - set(1)) * set(0.5F), set(0)), top));
      const F miss = set(ideal[j]) - unit * (s + s + set(1));
      cost = cost + miss * miss * set(Q[j]);
    }
    store(costs, cost);
    store(scales, d);
    for (int i = 0; i < 16; ++i)
      if (costs[i] < best_cost) {
        best_cost = costs[i];
        best = scales[i];
      }
  }
  return best;
}

/// A super-block's state: d, and each sub-block's s and shift.
struct State {
  F d, s, negative;
};

/// Tries the neighbours of each s on the true error. gain: by how much less than Σ v·w² the error is.
template <int N, int Dims, bool Even, ShiftBits Shifts>
LANES_FN void settle(const Codepoints& points, const CodebookTile<N>& tile, State& state, Sums& sums, F& gain) {
  const F top = set(static_cast<float>(points.spec.max_s)), unit = state.d * set(points.spec.factor);
  const F start = state.s, shift = state.negative;
  bool none = true;
  const auto attempt = [&](const F& s, const F& negative) LANES_LAMBDA {
    const F scale = unit * (s + s + set(1));
    Sums now;
    sum_up<N, Dims, Even, Shifts>(points, tile, inverse(scale), negative, now);
    const F gained = scale * (now.A + now.A) - scale * scale * now.Q;
    const Mask better = none ? set(1) > set(0) : gained > gain;
    gain = select(better, gained, gain);
    sums.A = select(better, now.A, sums.A);
    sums.Q = select(better, now.Q, sums.Q);
    state.s = select(better, s, state.s);
    state.negative = select(better, negative, state.negative);
    none = false;
  };
  gain = sums.A = sums.Q = set(0);
  attempt(start, shift);
  for (const float step : {-1.0F, 1.0F}) attempt(min(max(start + set(step), set(0)), top), shift);
  if (Shifts == ShiftBits::sub) {
    const F chosen = state.s;
    attempt(chosen, set(1) - shift);
  }
}

template <int N, int Dims, bool Even, ShiftBits Shifts>
LANES_FN void search_tile(const CodebookSpec& spec, const Codebook& book, const CodebookTile<N>& tile,
                          int blocks, CodebookParams* params) {
  constexpr int kSubs = 256 / N, kBlocks = 16 / kSubs;
  const Codepoints screened(spec, book, kScreened), points(spec, book, Codebook::kNearest);
  Ideal ideal;
  find_ideal<N, Dims, Even, Shifts>(screened, tile, ideal);
  alignas(64) float scales[16], Q[16];
  store(scales, ratio(ideal.A, ideal.Q));
  store(Q, ideal.Q);
  float d_of[kBlocks];
  for (int g = 0; g < kBlocks; ++g) d_of[g] = pick_odd_scale(spec, scales + g * kSubs, Q + g * kSubs);
  State state{spread(d_of, kSubs), set(0), ideal.negative};
  const F inv = inverse(state.d * set(spec.factor));
  state.s =
      round(min(max((load(scales) * inv - set(1)) * set(0.5F), set(0)), set(static_cast<float>(spec.max_s))));
  State best = state;
  double best_gain[kBlocks];
  std::fill_n(best_gain, kBlocks, -HUGE_VAL);
  for (int k = 0; k < 3; ++k) {
    Sums sums;
    F gain;
    settle<N, Dims, Even, Shifts>(k < 2 ? screened : points, tile, state, sums, gain);
    const F multiple = (state.s + state.s + set(1)) * set(spec.factor);
    double gains[2], numerator[2], denominator[2];
    group_sums(gain, kSubs, gains);
    group_sums(multiple * sums.A, kSubs, numerator);
    group_sums(multiple * multiple * sums.Q, kSubs, denominator);
    float won[kBlocks];
    for (int g = 0; g < kBlocks; ++g) {
      won[g] = gains[g] > best_gain[g] ? 1.0F : 0.0F;
      best_gain[g] = std::max(best_gain[g], gains[g]);
      if (denominator[g] > 0)
        d_of[g] = half_to_float(float_to_half(static_cast<float>(numerator[g] / denominator[g])));
    }
    const Mask better = spread(won, kSubs) > set(0);
    best.d = select(better, state.d, best.d);
    best.s = select(better, state.s, best.s);
    best.negative = select(better, state.negative, best.negative);
    state.d = spread(d_of, kSubs);
  }
  float kept[kBlocks];  // weights too small for any d are stored as zeros
  for (int g = 0; g < kBlocks; ++g) kept[g] = best_gain[g] > 0 ? 1.0F : 0.0F;
  best.d = select(spread(kept, kSubs) > set(0), best.d, set(0));
  uint16_t halves[16];
  int8_t s[16], negative[16];
  store_half(halves, best.d);
  store_int8(s, best.s);
  store_int8(negative, best.negative);
  for (int lane = 0; lane < blocks * kSubs; ++lane) {
    CodebookParams& p = params[lane / kSubs];
    const int j = lane % kSubs;
    if (j == 0) p = {.d = halves[lane]};
    p.s[j] = static_cast<uint8_t>(s[lane]);
    if (Shifts == ShiftBits::sub) p.negative = static_cast<uint8_t>(p.negative | negative[lane] << j);
  }
}

template <int N, int Dims, bool Even, ShiftBits Shifts>
LANES_FN void search_all(const CodebookSpec& spec, const Codebook& book, const float* w, const float* v,
                         int64_t v_blocks, int64_t n_blocks, CodebookParams* params) {
  constexpr int64_t kBlocks = 16 * N / 256;
  CodebookTile<N> tile;
  for (int64_t first = 0; first < n_blocks; first += kBlocks) {
    load_codebook_tile<N>(spec.signs != SignBits::none, w, v, v_blocks, first, n_blocks, tile);
    search_tile<N, Dims, Even, Shifts>(spec, book, tile, static_cast<int>(std::min(kBlocks, n_blocks - first)),
                                       params + first);
  }
}

/// The codes of eight weights from their points; `w` tells the signs.
void write_codes(const CodebookSpec& spec, const float* w, const float* v, const uint32_t* word, float flip,
                 bool negative, int8_t* codes) {
  int turned = -1;
  float least = HUGE_VALF;
  for (int i = 0; i < 8; ++i) {
    const auto at = static_cast<int>(word[i / spec.dims] >> (4 * (i % spec.dims)) & 3U);
    if (spec.signs == SignBits::none) {
      codes[i] = static_cast<int8_t>(negative ? -spec.levels[2 - at] : spec.levels[at]);
      continue;
    }
    const float level = spec.levels[word[i / spec.dims] >> (4 * (i % spec.dims)) & 7U];
    codes[i] = static_cast<int8_t>(w[i] < 0 ? -level : level);
    const float cost = v[i] * std::fabs(w[i]) * level;
    const int point = 1 + i / spec.dims;
    if (flip == static_cast<float>(point) && cost < least) {
      least = cost;
      turned = i;
    }
  }
  if (turned >= 0) codes[turned] = static_cast<int8_t>(-codes[turned]);
}

template <int Dims, bool Even, ShiftBits Shifts>
LANES_FN void round_all(const CodebookSpec& spec, const Codebook& book, int octets, const float* scale,
                        const uint8_t* shift, const float* w, const float* v, int8_t* codes) {
  const Codepoints points(spec, book, Codebook::kNearest);
  CodebookTile<8> tile;
  for (int first = 0; first < octets; first += 16) {
    const float *rows[16], *v_rows[16];
    alignas(64) float scales[16], negative[16], flips[16], shifts[16];
    for (int lane = 0; lane < 16; ++lane) {
      const int o = std::min(first + lane, octets - 1);
      rows[lane] = w + 8 * o;
      v_rows[lane] = v + 8 * o;
      scales[lane] = scale[o];
      negative[lane] = shift[o];
    }
    load_lanes<8>(rows, tile.a);
    load_lanes<8>(v_rows, tile.v);
    const F odd = odd_signs(tile.a);
    for (int i = 0; i < 8; ++i) {
      const F x = load(tile.a + 16 * i), a = spec.signs == SignBits::none ? x : abs(x);
      store(tile.a + 16 * i, a);
      store(tile.u + 16 * i, load(tile.v + 16 * i) * a);
    }
    const Octet octet = nearest_octet<Dims, Even, Shifts>(points, {tile.a, tile.u, tile.v},
                                                          inverse(load(scales)), odd, load(negative));
    uint32_t words[2][16];
    store(words[0], octet.word[0]);
    store(words[1], octet.word[1]);
    store(flips, octet.flip);
    store(shifts, octet.negative);
    for (int lane = 0; lane < std::min(16, octets - first); ++lane) {
      const uint32_t word[2] = {words[0][lane], words[1][lane]};
      write_codes(spec, rows[lane], v_rows[lane], word, flips[lane], shifts[lane] > 0,
                  codes + 8 * (first + lane));
    }
  }
}

/// What a spec's combination of properties is compiled as.
template <class Function>
LANES_INLINE void with_kind(const CodebookSpec& spec, Function f) {
  if (spec.dims == 4)
    spec.signs == SignBits::even ? f.template run<32, 4, true, ShiftBits::none>()
                                 : f.template run<32, 4, false, ShiftBits::none>();
  else if (spec.shifts == ShiftBits::sub)
    f.template run<32, 8, false, ShiftBits::sub>();
  else if (spec.shifts == ShiftBits::eight)
    f.template run<16, 8, false, ShiftBits::eight>();
  else if (spec.signs == SignBits::free)
    f.template run<16, 8, false, ShiftBits::none>();
  else
    spec.sub == 32 ? f.template run<32, 8, true, ShiftBits::none>()
                   : f.template run<16, 8, true, ShiftBits::none>();
}

struct SearchCall {
  const CodebookSpec& spec;
  const Codebook& book;
  const float *w, *v;
  int64_t v_blocks, n_blocks;
  CodebookParams* params;
  template <int N, int Dims, bool Even, ShiftBits Shifts>
  LANES_INLINE void run() const {
    search_all<N, Dims, Even, Shifts>(spec, book, w, v, v_blocks, n_blocks, params);
  }
};
struct RoundCall {
  const CodebookSpec& spec;
  const Codebook& book;
  int octets;
  const float* scale;
  const uint8_t* shift;
  const float *w, *v;
  int8_t* codes;
  template <int N, int Dims, bool Even, ShiftBits Shifts>
  LANES_INLINE void run() const {
    round_all<Dims, Even, Shifts>(spec, book, octets, scale, shift, w, v, codes);
  }
};

LANES_FN void search_codebook(const CodebookSpec& spec, const Codebook& book, const float* w, const float* v,
                              int64_t v_blocks, int64_t n_blocks, CodebookParams* params) {
  with_kind(spec, SearchCall{spec, book, w, v, v_blocks, n_blocks, params});
}

LANES_FN void round_codebook(const CodebookSpec& spec, const Codebook& book, int octets, const float* scale,
                             const uint8_t* shift, const float* w, const float* v, int8_t* codes) {
  with_kind(spec, RoundCall{spec, book, octets, scale, shift, w, v, codes});
}

}  // namespace
}  // namespace lissom::LANES
