// See simd/scalar.h for what each operation means. What the three targets of AArch64 have in common: neon.h,
// neon_dotprod.h and neon_i8mm.h name the target, include this and add their dot products.
#include <arm_neon.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "base/half.h"
#include "kernels/table.h"

/// Dot products go by eight columns: see dot_pair().
#define LISSOM_DOT_PAIRS 1
/// Four registers a vector look large to GCC, which calls functions in the inner loop then, with accumulators
/// in memory.
#define LISSOM_FLATTEN __attribute__((flatten))

#if defined(__clang__)
#if defined(LISSOM_I8MM)
#pragma clang attribute push(__attribute__((target("dotprod,i8mm"))), apply_to = function)
#elif defined(LISSOM_DOTPROD)
#pragma clang attribute push(__attribute__((target("dotprod"))), apply_to = function)
#endif
#elif !defined(LISSOM_NO_ATTRIBUTES)
#pragma GCC push_options
#if defined(LISSOM_I8MM)
#pragma GCC target("arch=armv8.2-a+dotprod+i8mm")
#else
#pragma GCC target("arch=armv8.2-a+dotprod")
#endif
#endif

namespace lissom::kernels::LISSOM_TARGET_NAMESPACE {
namespace {

/// A token's accumulators are four registers; those of four tokens leave half of the 32 for operands.
constexpr int kTile = 4;

struct F {
  float32x4_t a, b, c, d;
};
struct I {
  int32x4_t a, b, c, d;
};
struct B {
  uint8x16_t a, b, c, d;
};

inline F load(const float* p) {
  return {vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)};
}
inline void store(float* p, F x) {
  vst1q_f32(p, x.a);
  vst1q_f32(p + 4, x.b);
  vst1q_f32(p + 8, x.c);
  vst1q_f32(p + 12, x.d);
}
inline F load_n(const float* p, int64_t n) {
  float t[16] = {};
  std::memcpy(t, p, static_cast<size_t>(n) * 4);
  return load(t);
}
inline void store_n(float* p, F x, int64_t n) {
  float t[16];
  store(t, x);
  std::memcpy(p, t, static_cast<size_t>(n) * 4);
}
inline F set(float x) {
  const float32x4_t v = vdupq_n_f32(x);
  return {v, v, v, v};
}
inline F add(F x, F y) {
  return {vaddq_f32(x.a, y.a), vaddq_f32(x.b, y.b), vaddq_f32(x.c, y.c), vaddq_f32(x.d, y.d)};
}
inline F sub(F x, F y) {
  return {vsubq_f32(x.a, y.a), vsubq_f32(x.b, y.b), vsubq_f32(x.c, y.c), vsubq_f32(x.d, y.d)};
}
inline F mul(F x, F y) {
  return {vmulq_f32(x.a, y.a), vmulq_f32(x.b, y.b), vmulq_f32(x.c, y.c), vmulq_f32(x.d, y.d)};
}
inline F div(F x, F y) {
  return {vdivq_f32(x.a, y.a), vdivq_f32(x.b, y.b), vdivq_f32(x.c, y.c), vdivq_f32(x.d, y.d)};
}
inline F fma(F x, F y, F z) {
  return {vfmaq_f32(z.a, x.a, y.a), vfmaq_f32(z.b, x.b, y.b), vfmaq_f32(z.c, x.c, y.c),
          vfmaq_f32(z.d, x.d, y.d)};
}
// fmax and fmin return a NaN that either side has; the others return y then, and so do these.
inline float32x4_t max4(float32x4_t x, float32x4_t y) {
  return vbslq_f32(vcgtq_f32(x, y), x, y);
}
inline float32x4_t min4(float32x4_t x, float32x4_t y) {
  return vbslq_f32(vcltq_f32(x, y), x, y);
}
inline F max(F x, F y) {
  return {max4(x.a, y.a), max4(x.b, y.b), max4(x.c, y.c), max4(x.d, y.d)};
}
inline F min(F x, F y) {
  return {min4(x.a, y.a), min4(x.b, y.b), min4(x.c, y.c), min4(x.d, y.d)};
}
inline F abs(F x) {
  return {vabsq_f32(x.a), vabsq_f32(x.b), vabsq_f32(x.c), vabsq_f32(x.d)};
}
inline F neg(F x) {
  return {vnegq_f32(x.a), vnegq_f32(x.b), vnegq_f32(x.c), vnegq_f32(x.d)};
}
inline F where_less(F x, F limit, F y, F z) {
  return {vbslq_f32(vcltq_f32(x.a, limit.a), y.a, z.a), vbslq_f32(vcltq_f32(x.b, limit.b), y.b, z.b),
          vbslq_f32(vcltq_f32(x.c, limit.c), y.c, z.c), vbslq_f32(vcltq_f32(x.d, limit.d), y.d, z.d)};
}
inline F where_lanes(int first, int last, F x, F y) {
  float p[16], q[16];
  store(p, x);
  store(q, y);
  for (int i = first; i < last; ++i) q[i] = p[i];
  return load(q);
}
inline float reduce_add(F x) {
  const float32x4_t q = vaddq_f32(vaddq_f32(x.a, x.c), vaddq_f32(x.b, x.d));
  const float32x2_t h = vadd_f32(vget_low_f32(q), vget_high_f32(q));
  return vget_lane_f32(h, 0) + vget_lane_f32(h, 1);
}
inline float reduce_max(F x) {
  const float32x4_t q = max4(max4(x.a, x.c), max4(x.b, x.d));
  const float32x4_t h = max4(q, vextq_f32(q, q, 2));
  return vgetq_lane_f32(max4(h, vdupq_laneq_f32(h, 1)), 0);
}
inline float32x4_t scale4(float32x4_t x, float32x4_t n) {
  return vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(x), vshlq_n_s32(vcvtq_s32_f32(n), 23)));
}
inline F scale2(F x, F n) {
  return {scale4(x.a, n.a), scale4(x.b, n.b), scale4(x.c, n.c), scale4(x.d, n.d)};
}
inline F round(F x) {
  return {vrndnq_f32(x.a), vrndnq_f32(x.b), vrndnq_f32(x.c), vrndnq_f32(x.d)};
}
inline float32x4_t half4(uint16x4_t x) {
  return vcvt_f32_f16(vreinterpret_f16_u16(x));
}
inline F load_half(const uint16_t* p) {
  const uint16x8_t x = vld1q_u16(p), y = vld1q_u16(p + 8);
  return {half4(vget_low_u16(x)), half4(vget_high_u16(x)), half4(vget_low_u16(y)), half4(vget_high_u16(y))};
}
inline void store_half(uint16_t* p, F x) {
  vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(x.a)));
  vst1_u16(p + 4, vreinterpret_u16_f16(vcvt_f16_f32(x.b)));
  vst1_u16(p + 8, vreinterpret_u16_f16(vcvt_f16_f32(x.c)));
  vst1_u16(p + 12, vreinterpret_u16_f16(vcvt_f16_f32(x.d)));
}
inline F load_s8(const int8_t* p) {
  const int8x16_t v = vld1q_s8(p);
  const int16x8_t x = vmovl_s8(vget_low_s8(v)), y = vmovl_high_s8(v);
  return {vcvtq_f32_s32(vmovl_s16(vget_low_s16(x))), vcvtq_f32_s32(vmovl_high_s16(x)),
          vcvtq_f32_s32(vmovl_s16(vget_low_s16(y))), vcvtq_f32_s32(vmovl_high_s16(y))};
}
inline F load_u8(const uint8_t* p) {
  const uint8x16_t v = vld1q_u8(p);
  const uint16x8_t x = vmovl_u8(vget_low_u8(v)), y = vmovl_high_u8(v);
  return {vcvtq_f32_u32(vmovl_u16(vget_low_u16(x))), vcvtq_f32_u32(vmovl_high_u16(x)),
          vcvtq_f32_u32(vmovl_u16(vget_low_u16(y))), vcvtq_f32_u32(vmovl_high_u16(y))};
}
inline F load_bf16(const uint16_t* p) {
  const uint16x8_t x = vld1q_u16(p), y = vld1q_u16(p + 8);
  return {
      vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(x), 16)), vreinterpretq_f32_u32(vshll_high_n_u16(x, 16)),
      vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(y), 16)), vreinterpretq_f32_u32(vshll_high_n_u16(y, 16))};
}
inline uint32x4_t load_words(const uint16_t* p) {
  return vreinterpretq_u32_u16(vld1q_u16(p));
}
inline F load_bf16_even(const uint16_t* p) {
  return {vreinterpretq_f32_u32(vshlq_n_u32(load_words(p), 16)),
          vreinterpretq_f32_u32(vshlq_n_u32(load_words(p + 8), 16)),
          vreinterpretq_f32_u32(vshlq_n_u32(load_words(p + 16), 16)),
          vreinterpretq_f32_u32(vshlq_n_u32(load_words(p + 24), 16))};
}
inline F load_bf16_odd(const uint16_t* p) {
  const uint32x4_t m = vdupq_n_u32(0xffff0000U);
  return {vreinterpretq_f32_u32(vandq_u32(load_words(p), m)),
          vreinterpretq_f32_u32(vandq_u32(load_words(p + 8), m)),
          vreinterpretq_f32_u32(vandq_u32(load_words(p + 16), m)),
          vreinterpretq_f32_u32(vandq_u32(load_words(p + 24), m))};
}

inline I seti(int32_t x) {
  const int32x4_t v = vdupq_n_s32(x);
  return {v, v, v, v};
}
template <int N>
inline I shl(I x) {
  return {vshlq_n_s32(x.a, N), vshlq_n_s32(x.b, N), vshlq_n_s32(x.c, N), vshlq_n_s32(x.d, N)};
}
inline F to_float(I x) {
  return {vcvtq_f32_s32(x.a), vcvtq_f32_s32(x.b), vcvtq_f32_s32(x.c), vcvtq_f32_s32(x.d)};
}
/// To nearest even, saturated; a NaN, as in the other targets, to the least.
inline int16x4_t narrow4(float32x4_t x) {
  return vqmovn_s32(vcvtnq_s32_f32(max4(x, vdupq_n_f32(-128.0F))));
}
inline int8x16_t narrow(F x) {
  return vcombine_s8(vqmovn_s16(vcombine_s16(narrow4(x.a), narrow4(x.b))),
                     vqmovn_s16(vcombine_s16(narrow4(x.c), narrow4(x.d))));
}
inline void store_s8(int8_t* p, F x) {
  vst1q_s8(p, narrow(x));
}

inline B loadb(const uint8_t* p) {
  return {vld1q_u8(p), vld1q_u8(p + 16), vld1q_u8(p + 32), vld1q_u8(p + 48)};
}
inline void storeb(uint8_t* p, B x) {
  vst1q_u8(p, x.a);
  vst1q_u8(p + 16, x.b);
  vst1q_u8(p + 32, x.c);
  vst1q_u8(p + 48, x.d);
}
template <int N>
inline B low_bits(B x) {
  const uint8x16_t m = vdupq_n_u8((1 << N) - 1);
  return {vandq_u8(x.a, m), vandq_u8(x.b, m), vandq_u8(x.c, m), vandq_u8(x.d, m)};
}
/// Shifts are per byte, so that bits which they push out need no mask.
template <int First, int N, int To>
inline uint8x16_t bits16(uint8x16_t x) {
  if constexpr (First + N == 8 && First > To) {
    x = vshrq_n_u8(x, First - To);
    return To == 0 ? x : vandq_u8(x, vdupq_n_u8(static_cast<uint8_t>(((1 << N) - 1) << To)));
  } else {
    if constexpr (First > To) x = vshrq_n_u8(x, First - To);
    if constexpr (First < To) x = vshlq_n_u8(x, To - First);
    return vandq_u8(x, vdupq_n_u8(static_cast<uint8_t>(((1 << N) - 1) << To)));
  }
}
template <int First, int N, int To>
inline B bits(B x) {
  return {bits16<First, N, To>(x.a), bits16<First, N, To>(x.b), bits16<First, N, To>(x.c),
          bits16<First, N, To>(x.d)};
}
inline B orb(B x, B y) {
  return {vorrq_u8(x.a, y.a), vorrq_u8(x.b, y.b), vorrq_u8(x.c, y.c), vorrq_u8(x.d, y.d)};
}
inline uint16x8_t pairs16(float32x4_t x) {
  const uint32x4_t n = vreinterpretq_u32_s32(vcvtnq_s32_f32(x));
  return vreinterpretq_u16_u32(vsliq_n_u32(n, n, 16));
}
inline uint8x16_t affine4(uint8x16_t x, float32x4_t by, float32x4_t plus) {
  const uint16x8_t m = pairs16(by), b = pairs16(plus), words = vreinterpretq_u16_u8(x);
  const uint16x8_t even = vmlaq_u16(b, vandq_u16(words, vdupq_n_u16(255)), m);
  const uint16x8_t odd = vmlaq_u16(b, vshrq_n_u16(words, 8), m);
  return vreinterpretq_u8_u16(vsriq_n_u16(odd, even, 8));
}
inline void store_affine(uint8_t* p, B x, F by, F plus) {
  storeb(p, {affine4(x.a, by.a, plus.a), affine4(x.b, by.b, plus.b), affine4(x.c, by.c, plus.c),
             affine4(x.d, by.d, plus.d)});
}
struct Table {
  uint8x16_t v;
};
inline Table load_table(const uint8_t* p) {
  return {vld1q_u8(p)};
}
inline B lookup(const Table& t, B x) {
  return {vqtbl1q_u8(t.v, x.a), vqtbl1q_u8(t.v, x.b), vqtbl1q_u8(t.v, x.c), vqtbl1q_u8(t.v, x.d)};
}

inline void transpose4(float32x4_t& x, float32x4_t& y, float32x4_t& z, float32x4_t& w) {
  const float32x4_t xy = vtrn1q_f32(x, y), yx = vtrn2q_f32(x, y);
  const float32x4_t zw = vtrn1q_f32(z, w), wz = vtrn2q_f32(z, w);
  const auto pairs = [](float32x4_t v) { return vreinterpretq_f64_f32(v); };
  x = vreinterpretq_f32_f64(vtrn1q_f64(pairs(xy), pairs(zw)));
  y = vreinterpretq_f32_f64(vtrn1q_f64(pairs(yx), pairs(wz)));
  z = vreinterpretq_f32_f64(vtrn2q_f64(pairs(xy), pairs(zw)));
  w = vreinterpretq_f32_f64(vtrn2q_f64(pairs(yx), pairs(wz)));
}
inline void transpose(F (&r)[16]) {
  for (int i = 0; i < 16; i += 4) {
    transpose4(r[i].a, r[i + 1].a, r[i + 2].a, r[i + 3].a);
    transpose4(r[i].b, r[i + 1].b, r[i + 2].b, r[i + 3].b);
    transpose4(r[i].c, r[i + 1].c, r[i + 2].c, r[i + 3].c);
    transpose4(r[i].d, r[i + 1].d, r[i + 2].d, r[i + 3].d);
  }
  const auto swap = [](float32x4_t& x, float32x4_t& y) {
    const float32x4_t t = x;
    x = y;
    y = t;
  };
  for (int i = 0; i < 4; ++i) {  // 4 × 4 blocks across the diagonal
    swap(r[i].b, r[4 + i].a);
    swap(r[i].c, r[8 + i].a);
    swap(r[i].d, r[12 + i].a);
    swap(r[4 + i].c, r[8 + i].b);
    swap(r[4 + i].d, r[12 + i].b);
    swap(r[8 + i].d, r[12 + i].c);
  }
}

template <int T>
inline void quantize_store(F lo, F hi, F inverse, uint8_t* out, int32_t (&sums)[2]) {
  const int8x16_t both[2] = {narrow(mul(lo, inverse)), narrow(mul(hi, inverse))};
  for (int i = 0; i < 2; ++i) {
    sums[i] = vaddlvq_s8(both[i]);
    const int32x4_t fours = vreinterpretq_s32_s8(both[i]);
    uint8_t* to = out + i * 4 * T * 4;
    vst1q_lane_s32(reinterpret_cast<int32_t*>(to), fours, 0);
    vst1q_lane_s32(reinterpret_cast<int32_t*>(to + T * 4), fours, 1);
    vst1q_lane_s32(reinterpret_cast<int32_t*>(to + T * 8), fours, 2);
    vst1q_lane_s32(reinterpret_cast<int32_t*>(to + T * 12), fours, 3);
  }
}

// ---------------------------------------------------------------- dot products

/// Four columns of each of T tokens, side by side, in a register; what is above is undefined.
template <int T>
inline int8x16_t load_tokens(const int8_t* a) {
  if constexpr (T == 4) {
    return vld1q_s8(a);
  } else {
    int64_t two = 0;
    std::memcpy(&two, a, 4 * T);
    return vreinterpretq_s8_s64(vdupq_n_s64(two));
  }
}
