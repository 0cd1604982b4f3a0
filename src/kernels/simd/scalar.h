// No include guard, no pragma once: a target's source includes one of simd/*.h, then generic/*.inl, then
// simd/end.h.
//
// The same small set of operations for each target, on F (16 floats), I (16 int32) and B (64 bytes). Every
// operation is exact or correctly rounded and reductions have one order, so all targets give the same bits.
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "base/half.h"
#include "kernels/table.h"

#define LISSOM_TARGET_NAMESPACE scalar_target
#define LISSOM_NO_ATTRIBUTES 1

namespace lissom::kernels::scalar_target {
namespace {

constexpr int kTile = 2;             ///< tokens that share one pass over a panel's weights
constexpr bool kSignedWide = false;  ///< codes of 8 bits are taken as unsigned, with a zero point of 128
/// Whether looking codes up again for each tile costs more than reading what was looked up once.
constexpr bool kWidensTables = false;

struct F {
  float v[16];
};
struct I {
  int32_t v[16];
};
struct B {
  uint8_t v[64];
};

#define LISSOM_LANES for (int i = 0; i < 16; ++i)
inline F load(const float* p) {
  F r;
  std::memcpy(r.v, p, 64);
  return r;
}
inline void store(float* p, F a) {
  std::memcpy(p, a.v, 64);
}
inline F load_n(const float* p, int64_t n) {
  F r{};
  std::memcpy(r.v, p, static_cast<size_t>(n) * 4);
  return r;
}
inline void store_n(float* p, F a, int64_t n) {
  std::memcpy(p, a.v, static_cast<size_t>(n) * 4);
}
inline F set(float x) {
  F r;
  LISSOM_LANES r.v[i] = x;
  return r;
}
inline F add(F a, F b) {
  LISSOM_LANES a.v[i] += b.v[i];
  return a;
}
inline F sub(F a, F b) {
  LISSOM_LANES a.v[i] -= b.v[i];
  return a;
}
inline F mul(F a, F b) {
  LISSOM_LANES a.v[i] *= b.v[i];
  return a;
}
inline F div(F a, F b) {
  LISSOM_LANES a.v[i] /= b.v[i];
  return a;
}
inline F fma(F a, F b, F c) {
  LISSOM_LANES c.v[i] = __builtin_fmaf(a.v[i], b.v[i], c.v[i]);
  return c;
}
inline F max(F a, F b) {
  LISSOM_LANES a.v[i] = a.v[i] > b.v[i] ? a.v[i] : b.v[i];
  return a;
}
inline F min(F a, F b) {
  LISSOM_LANES a.v[i] = a.v[i] < b.v[i] ? a.v[i] : b.v[i];
  return a;
}
inline F abs(F a) {
  LISSOM_LANES a.v[i] = std::bit_cast<float>(std::bit_cast<uint32_t>(a.v[i]) & 0x7fffffffU);
  return a;
}
inline F neg(F a) {
  LISSOM_LANES a.v[i] = -a.v[i];
  return a;
}
/// x < limit ? a : b
inline F where_less(F x, F limit, F a, F b) {
  LISSOM_LANES b.v[i] = x.v[i] < limit.v[i] ? a.v[i] : b.v[i];
  return b;
}
/// Lanes first … last-1 of a, b elsewhere.
inline F where_lanes(int first, int last, F a, F b) {
  LISSOM_LANES b.v[i] = i >= first && i < last ? a.v[i] : b.v[i];
  return b;
}
inline float reduce_add(F a) {
  for (int half : {8, 4, 2, 1})
    for (int i = 0; i < half; ++i) a.v[i] += a.v[i + half];
  return a.v[0];
}
inline float reduce_max(F a) {
  for (int half : {8, 4, 2, 1})
    for (int i = 0; i < half; ++i) a.v[i] = a.v[i] > a.v[i + half] ? a.v[i] : a.v[i + half];
  return a.v[0];
}
/// a · 2^n for whole n with a normal result.
inline F scale2(F a, F n) {
  LISSOM_LANES a.v[i] =
      std::bit_cast<float>(std::bit_cast<int32_t>(a.v[i]) + static_cast<int32_t>(n.v[i]) * (1 << 23));
  return a;
}
inline F round(F a) {
  LISSOM_LANES a.v[i] = std::nearbyintf(a.v[i]);
  return a;
}
inline F load_half(const uint16_t* p) {
  F r;
  LISSOM_LANES r.v[i] = half_to_float(p[i]);
  return r;
}
inline void store_half(uint16_t* p, F a) {
  LISSOM_LANES p[i] = float_to_half(a.v[i]);
}
inline F load_s8(const int8_t* p) {
  F r;
  LISSOM_LANES r.v[i] = p[i];
  return r;
}
inline F load_u8(const uint8_t* p) {
  F r;
  LISSOM_LANES r.v[i] = p[i];
  return r;
}
inline F load_bf16(const uint16_t* p) {
  F r;
  LISSOM_LANES r.v[i] = bf16_to_float(p[i]);
  return r;
}
/// The even (low) and odd (high) bf16 of 16 pairs.
inline F load_bf16_even(const uint16_t* p) {
  F r;
  LISSOM_LANES r.v[i] = bf16_to_float(p[2 * i]);
  return r;
}
inline F load_bf16_odd(const uint16_t* p) {
  F r;
  LISSOM_LANES r.v[i] = bf16_to_float(p[2 * i + 1]);
  return r;
}

inline I seti(int32_t x) {
  I r;
  LISSOM_LANES r.v[i] = x;
  return r;
}
template <int N>
inline I shl(I a) {
  LISSOM_LANES a.v[i] = static_cast<int32_t>(static_cast<uint32_t>(a.v[i]) << N);
  return a;
}
inline F to_float(I a) {
  F r;
  LISSOM_LANES r.v[i] = static_cast<float>(a.v[i]);
  return r;
}
/// 16 values to int8, to nearest even, saturated.
inline void store_s8(int8_t* p, F a) {
  LISSOM_LANES {
    const float x = a.v[i] > 127.0F ? 127.0F : (a.v[i] > -128.0F ? a.v[i] : -128.0F);
    p[i] = static_cast<int8_t>(std::nearbyintf(x));
  }
}

inline B loadb(const uint8_t* p) {
  B r;
  std::memcpy(r.v, p, 64);
  return r;
}
inline void storeb(uint8_t* p, B a) {
  std::memcpy(p, a.v, 64);
}
template <int N>
inline B low_bits(B a) {
  for (auto& x : a.v) x &= (1 << N) - 1;
  return a;
}
/// Bits First … First+N-1 of each byte, moved to position To.
template <int First, int N, int To>
inline B bits(B a) {
  for (auto& x : a.v) x = static_cast<uint8_t>(((x >> First) & ((1 << N) - 1)) << To);
  return a;
}
inline B orb(B a, B b) {
  for (int i = 0; i < 64; ++i) a.v[i] |= b.v[i];
  return a;
}
/// Of each byte its lane's factor times it, plus its lane's summand, all in 16 bits: the upper 8. Both are
/// integers below 2^31, or NaN, which makes a lane's bytes any.
inline void store_affine(uint8_t* p, B a, F by, F plus) {
  const auto low16 = [](float x) {
    return std::isnan(x) ? 0U : static_cast<uint32_t>(static_cast<int32_t>(x));
  };
  for (int i = 0; i < 64; ++i)
    p[i] = static_cast<uint8_t>((a.v[i] * low16(by.v[i / 4]) + low16(plus.v[i / 4])) >> 8);
}
struct Table {
  uint8_t v[16];
};
inline Table load_table(const uint8_t* p) {
  Table t;
  std::memcpy(t.v, p, 16);
  return t;
}
inline B lookup(const Table& t, B a) {
  for (auto& x : a.v) x = t.v[x];
  return a;
}
/// acc[i] + Σ_c u[4i+c] · a[c]
template <bool Wide>
inline I dot(I acc, B u, const int8_t* a) {
  LISSOM_LANES acc.v[i] +=
      u.v[4 * i] * a[0] + u.v[4 * i + 1] * a[1] + u.v[4 * i + 2] * a[2] + u.v[4 * i + 3] * a[3];
  return acc;
}
/// Element j of vector i becomes element i of vector j.
inline void transpose(F (&r)[16]) {
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < i; ++j) {
      const float x = r[i].v[j];
      r[i].v[j] = r[j].v[i];
      r[j].v[i] = x;
    }
  }
}
/// 32 values times `inverse` as int8: four columns each T·4 bytes apart, and their sums over each 16.
template <int T>
inline void quantize_store(F lo, F hi, F inverse, uint8_t* out, int32_t (&sums)[2]) {
  alignas(64) int8_t codes[32];
  store_s8(codes, mul(lo, inverse));
  store_s8(codes + 16, mul(hi, inverse));
  sums[0] = sums[1] = 0;
  for (int i = 0; i < 32; ++i) sums[i / 16] += codes[i];
  for (int s = 0; s < 8; ++s) std::memcpy(out + s * T * 4, codes + s * 4, 4);
}
#undef LISSOM_LANES
