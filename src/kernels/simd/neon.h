// What every AArch64 CPU has.
#define LISSOM_TARGET_NAMESPACE neon_target
#define LISSOM_NO_ATTRIBUTES 1

#include "kernels/simd/neon_common.h"

constexpr bool kSignedWide = true;
constexpr bool kWidensTables = false;

/// acc + Σ over four columns of u·x, for four rows. Two products of any signed bytes but two -128 fit 16 bits.
inline int32x4_t dot16(int32x4_t acc, int8x16_t u, int8x16_t x) {
  return vpadalq_s16(acc, vpaddq_s16(vmull_s8(vget_low_s8(u), vget_low_s8(x)), vmull_high_s8(u, x)));
}
/// acc + Σ u·x + v·y. Four products of codes below 64 fit 16 bits.
template <bool Wide>
inline int32x4_t dot32(int32x4_t acc, uint8x16_t u, uint8x16_t v, int8x16_t x, int8x16_t y) {
  if constexpr (Wide) {
    const uint8x16_t flip = vdupq_n_u8(0x80);
    acc = dot16(acc, vreinterpretq_s8_u8(veorq_u8(u, flip)), x);
    return dot16(acc, vreinterpretq_s8_u8(veorq_u8(v, flip)), y);
  } else {
    const int8x16_t s = vreinterpretq_s8_u8(u), t = vreinterpretq_s8_u8(v);
    const int16x8_t low = vmull_s8(vget_low_s8(s), vget_low_s8(x)), high = vmull_high_s8(s, x);
    return vpadalq_s16(acc,
                       vpaddq_s16(vmlal_s8(low, vget_low_s8(t), vget_low_s8(y)), vmlal_high_s8(high, t, y)));
  }
}
template <bool Wide, int Token>
inline I dot_token(I acc, B u, B v, int8x16_t x, int8x16_t y) {
  x = vreinterpretq_s8_s32(vdupq_laneq_s32(vreinterpretq_s32_s8(x), Token));
  y = vreinterpretq_s8_s32(vdupq_laneq_s32(vreinterpretq_s32_s8(y), Token));
  return {dot32<Wide>(acc.a, u.a, v.a, x, y), dot32<Wide>(acc.b, u.b, v.b, x, y),
          dot32<Wide>(acc.c, u.c, v.c, x, y), dot32<Wide>(acc.d, u.d, v.d, x, y)};
}
template <bool Wide, int T, int N>
inline void dot_pair(B u, B v, const int8_t* a, I (&acc)[N]) {
  static_assert(N == T && (N == 1 || N == 2 || N == 4));
  const int8x16_t x = load_tokens<T>(a), y = load_tokens<T>(a + 4 * T);
  acc[0] = dot_token<Wide, 0>(acc[0], u, v, x, y);
  if constexpr (N >= 2) acc[1] = dot_token<Wide, 1>(acc[1], u, v, x, y);
  if constexpr (N == 4) {
    acc[2] = dot_token<Wide, 2>(acc[2], u, v, x, y);
    acc[3] = dot_token<Wide, 3>(acc[3], u, v, x, y);
  }
}
template <int N>
inline void to_pairs(I (&)[N]) {}
template <int N>
inline void from_pairs(I (&)[N]) {}
