#pragma once
// lanes_portable.h in NEON, as every AArch64 CPU has it.

#include <arm_neon.h>

#include <cmath>
#include <cstdint>
#include <cstring>

#include "base/half.h"

#define LANES lanes_neon
#define LANES_FN [[maybe_unused]] __attribute__((noinline))
#define LANES_INLINE [[maybe_unused]] inline __attribute__((always_inline))
#define LANES_LAMBDA __attribute__((always_inline))

namespace lissom::lanes_neon {

struct F {
  float32x4_t a, b, c, d;
};
struct Mask {
  uint32x4_t a, b, c, d;
};

LANES_INLINE F set(float x) {
  const float32x4_t v = vdupq_n_f32(x);
  return {v, v, v, v};
}
LANES_INLINE F load(const float* p) {
  return {vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)};
}
LANES_INLINE void store(float* p, F x) {
  vst1q_f32(p, x.a);
  vst1q_f32(p + 4, x.b);
  vst1q_f32(p + 8, x.c);
  vst1q_f32(p + 12, x.d);
}
LANES_INLINE F operator+(F x, F y) {
  return {vaddq_f32(x.a, y.a), vaddq_f32(x.b, y.b), vaddq_f32(x.c, y.c), vaddq_f32(x.d, y.d)};
}
LANES_INLINE F operator-(F x, F y) {
  return {vsubq_f32(x.a, y.a), vsubq_f32(x.b, y.b), vsubq_f32(x.c, y.c), vsubq_f32(x.d, y.d)};
}
LANES_INLINE F operator*(F x, F y) {
  return {vmulq_f32(x.a, y.a), vmulq_f32(x.b, y.b), vmulq_f32(x.c, y.c), vmulq_f32(x.d, y.d)};
}
LANES_INLINE F operator/(F x, F y) {
  return {vdivq_f32(x.a, y.a), vdivq_f32(x.b, y.b), vdivq_f32(x.c, y.c), vdivq_f32(x.d, y.d)};
}
LANES_INLINE Mask operator>(F x, F y) {
  return {vcgtq_f32(x.a, y.a), vcgtq_f32(x.b, y.b), vcgtq_f32(x.c, y.c), vcgtq_f32(x.d, y.d)};
}
LANES_INLINE Mask operator<(F x, F y) {
  return {vcltq_f32(x.a, y.a), vcltq_f32(x.b, y.b), vcltq_f32(x.c, y.c), vcltq_f32(x.d, y.d)};
}
LANES_INLINE F select(Mask m, F yes, F no) {
  return {vbslq_f32(m.a, yes.a, no.a), vbslq_f32(m.b, yes.b, no.b), vbslq_f32(m.c, yes.c, no.c),
          vbslq_f32(m.d, yes.d, no.d)};
}
// fmin and fmax treat a NaN in their own way.
LANES_INLINE F min(F x, F y) {
  return select(x < y, x, y);
}
LANES_INLINE F max(F x, F y) {
  return select(x > y, x, y);
}
LANES_INLINE F abs(F x) {
  return {vabsq_f32(x.a), vabsq_f32(x.b), vabsq_f32(x.c), vabsq_f32(x.d)};
}
LANES_INLINE F round(F x) {
  return {vrndnq_f32(x.a), vrndnq_f32(x.b), vrndnq_f32(x.c), vrndnq_f32(x.d)};
}
LANES_INLINE F to_half_and_back(F x) {
  return {vcvt_f32_f16(vcvt_f16_f32(x.a)), vcvt_f32_f16(vcvt_f16_f32(x.b)), vcvt_f32_f16(vcvt_f16_f32(x.c)),
          vcvt_f32_f16(vcvt_f16_f32(x.d))};
}
/// Places of the four bytes of the floats at these indices.
LANES_INLINE uint8x16_t bytes_at(uint32x4_t index) {
  return vreinterpretq_u8_u32(vmlaq_n_u32(vdupq_n_u32(0x03020100U), index, 0x04040404U));
}
LANES_INLINE uint8x16x4_t load_bytes(const float* p) {
  return {{vreinterpretq_u8_f32(vld1q_f32(p)), vreinterpretq_u8_f32(vld1q_f32(p + 4)),
           vreinterpretq_u8_f32(vld1q_f32(p + 8)), vreinterpretq_u8_f32(vld1q_f32(p + 12))}};
}
LANES_INLINE float32x4_t lookup4(const uint8x16x4_t& low, const uint8x16x4_t& high, float32x4_t index) {
  // What lies outside of its table is 0 for tbl, and left alone by tbx.
  const uint8x16_t at = bytes_at(vcvtq_u32_f32(index));
  const uint8x16_t found = vqtbx4q_u8(vqtbl4q_u8(low, at), high, vsubq_u8(at, vdupq_n_u8(64)));
  return vreinterpretq_f32_u8(found);
}
LANES_INLINE F lookup32(const float* table, F index) {
  const uint8x16x4_t low = load_bytes(table), high = load_bytes(table + 16);
  return {lookup4(low, high, index.a), lookup4(low, high, index.b), lookup4(low, high, index.c),
          lookup4(low, high, index.d)};
}
struct U {
  uint32x4_t a, b, c, d;
};
LANES_INLINE U set_index(uint32_t x) {
  const uint32x4_t v = vdupq_n_u32(x);
  return {v, v, v, v};
}
LANES_INLINE U to_index(F x) {
  return {vcvtq_u32_f32(x.a), vcvtq_u32_f32(x.b), vcvtq_u32_f32(x.c), vcvtq_u32_f32(x.d)};
}
LANES_INLINE uint32x4_t gather4(const uint32_t* table, uint32x4_t index) {
  const uint32_t v[4] = {table[vgetq_lane_u32(index, 0)], table[vgetq_lane_u32(index, 1)],
                         table[vgetq_lane_u32(index, 2)], table[vgetq_lane_u32(index, 3)]};
  return vld1q_u32(v);
}
LANES_INLINE U gather(const uint32_t* table, U index) {
  return {gather4(table, index.a), gather4(table, index.b), gather4(table, index.c), gather4(table, index.d)};
}
LANES_INLINE U operator+(U x, U y) {
  return {vaddq_u32(x.a, y.a), vaddq_u32(x.b, y.b), vaddq_u32(x.c, y.c), vaddq_u32(x.d, y.d)};
}
LANES_INLINE U next_digit(U x) {
  return {vshrq_n_u32(x.a, 4), vshrq_n_u32(x.b, 4), vshrq_n_u32(x.c, 4), vshrq_n_u32(x.d, 4)};
}
LANES_INLINE U select(Mask m, U yes, U no) {
  return {vbslq_u32(m.a, yes.a, no.a), vbslq_u32(m.b, yes.b, no.b), vbslq_u32(m.c, yes.c, no.c),
          vbslq_u32(m.d, yes.d, no.d)};
}
LANES_INLINE void store(uint32_t* p, U x) {
  vst1q_u32(p, x.a);
  vst1q_u32(p + 4, x.b);
  vst1q_u32(p + 8, x.c);
  vst1q_u32(p + 12, x.d);
}
struct Table8 {
  uint8x16x2_t v;
};
LANES_INLINE Table8 load_table8(const float* p) {
  return {{{vreinterpretq_u8_f32(vld1q_f32(p)), vreinterpretq_u8_f32(vld1q_f32(p + 4))}}};
}
LANES_INLINE float32x4_t lookup8x4(const Table8& table, uint32x4_t x) {
  return vreinterpretq_f32_u8(vqtbl2q_u8(table.v, bytes_at(vandq_u32(x, vdupq_n_u32(7)))));
}
LANES_INLINE F lookup8(const Table8& table, U x) {
  return {lookup8x4(table, x.a), lookup8x4(table, x.b), lookup8x4(table, x.c), lookup8x4(table, x.d)};
}
LANES_INLINE void store_half(uint16_t* p, F x) {
  vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(x.a)));
  vst1_u16(p + 4, vreinterpret_u16_f16(vcvt_f16_f32(x.b)));
  vst1_u16(p + 8, vreinterpret_u16_f16(vcvt_f16_f32(x.c)));
  vst1_u16(p + 12, vreinterpret_u16_f16(vcvt_f16_f32(x.d)));
}
LANES_INLINE int16x8_t to_words(float32x4_t x, float32x4_t y) {
  return vcombine_s16(vqmovn_s32(vcvtq_s32_f32(x)), vqmovn_s32(vcvtq_s32_f32(y)));
}
LANES_INLINE void store_int8(int8_t* p, F x) {
  vst1q_s8(p, vcombine_s8(vqmovn_s16(to_words(x.a, x.b)), vqmovn_s16(to_words(x.c, x.d))));
}
/// out[16·k + lane] = in[lane][c + k] for k < 4 and four lanes.
LANES_INLINE void transpose4(const float* const* in, int c, float* out) {
  const float32x4_t x = vld1q_f32(in[0] + c), y = vld1q_f32(in[1] + c);
  const float32x4_t z = vld1q_f32(in[2] + c), w = vld1q_f32(in[3] + c);
  const float64x2_t xy = vreinterpretq_f64_f32(vtrn1q_f32(x, y)), yx = vreinterpretq_f64_f32(vtrn2q_f32(x, y));
  const float64x2_t zw = vreinterpretq_f64_f32(vtrn1q_f32(z, w)), wz = vreinterpretq_f64_f32(vtrn2q_f32(z, w));
  vst1q_f32(out, vreinterpretq_f32_f64(vtrn1q_f64(xy, zw)));
  vst1q_f32(out + 16, vreinterpretq_f32_f64(vtrn1q_f64(yx, wz)));
  vst1q_f32(out + 32, vreinterpretq_f32_f64(vtrn2q_f64(xy, zw)));
  vst1q_f32(out + 48, vreinterpretq_f32_f64(vtrn2q_f64(yx, wz)));
}
LANES_INLINE void transpose8(const float* const* in, int c, float* out) {
  transpose4(in, c, out);
  transpose4(in, c + 4, out + 64);
  transpose4(in + 4, c, out + 4);
  transpose4(in + 4, c + 4, out + 68);
}

}  // namespace lissom::lanes_neon
