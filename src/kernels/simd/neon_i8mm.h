// ARMv8.2 with dot and matrix products of unsigned and signed bytes. One usmmla multiplies two rows by two
// tokens over eight columns.
#define LISSOM_TARGET_NAMESPACE neon_i8mm_target
#define LISSOM_I8MM 1

#include "kernels/simd/neon_common.h"

constexpr bool kSignedWide = false;
constexpr bool kWidensTables = false;

inline int32x4_t zip_low(int32x4_t x, int32x4_t y) {
  return vzip1q_s32(x, y);
}
inline int32x4_t zip_high(int32x4_t x, int32x4_t y) {
  return vzip2q_s32(x, y);
}
/// Rows 0 and 1 (Part 0) or 2 and 3 (Part 1) of four, over eight columns.
template <int Part>
inline uint8x16_t two_rows(uint8x16_t u, uint8x16_t v) {
  const int32x4_t x = vreinterpretq_s32_u8(u), y = vreinterpretq_s32_u8(v);
  return vreinterpretq_u8_s32(Part == 0 ? zip_low(x, y) : zip_high(x, y));
}
/// Tokens 0 and 1 (Part 0) or 2 and 3, over eight columns.
template <int Part>
inline int8x16_t two_tokens(int8x16_t x, int8x16_t y) {
  const int32x4_t p = vreinterpretq_s32_s8(x), q = vreinterpretq_s32_s8(y);
  return vreinterpretq_s8_s32(Part == 0 ? zip_low(p, q) : zip_high(p, q));
}
inline I dot_first(I acc, B u, int8x16_t x) {
  return {vusdotq_laneq_s32(acc.a, u.a, x, 0), vusdotq_laneq_s32(acc.b, u.b, x, 0),
          vusdotq_laneq_s32(acc.c, u.c, x, 0), vusdotq_laneq_s32(acc.d, u.d, x, 0)};
}

/// A pair of tokens' accumulators, while a group is added up: in `even` those of the first two of each four
/// rows (row 0: both tokens, row 1: both), in `odd` of the other two.
inline void matrix_product(I& even, I& odd, B low, B high, int8x16_t x) {
  even.a = vusmmlaq_s32(even.a, low.a, x);
  odd.a = vusmmlaq_s32(odd.a, high.a, x);
  even.b = vusmmlaq_s32(even.b, low.b, x);
  odd.b = vusmmlaq_s32(odd.b, high.b, x);
  even.c = vusmmlaq_s32(even.c, low.c, x);
  odd.c = vusmmlaq_s32(odd.c, high.c, x);
  even.d = vusmmlaq_s32(even.d, low.d, x);
  odd.d = vusmmlaq_s32(odd.d, high.d, x);
}
template <bool Wide, int T, int N>
inline void dot_pair(B u, B v, const int8_t* a, I (&acc)[N]) {
  static_assert(N == T && (N == 1 || N == 2 || N == 4));
  const int8x16_t x = load_tokens<T>(a), y = load_tokens<T>(a + 4 * T);
  if constexpr (N == 1) {
    acc[0] = dot_first(dot_first(acc[0], u, x), v, y);
  } else {
    const B low = {two_rows<0>(u.a, v.a), two_rows<0>(u.b, v.b), two_rows<0>(u.c, v.c), two_rows<0>(u.d, v.d)};
    const B high = {two_rows<1>(u.a, v.a), two_rows<1>(u.b, v.b), two_rows<1>(u.c, v.c), two_rows<1>(u.d, v.d)};
    matrix_product(acc[0], acc[1], low, high, two_tokens<0>(x, y));
    if constexpr (N == 4) matrix_product(acc[2], acc[3], low, high, two_tokens<1>(x, y));
  }
}
template <int N>
inline void to_pairs(I (&acc)[N]) {
  for (int t = 0; t + 1 < N; t += 2) {
    const I x = acc[t], y = acc[t + 1];
    acc[t] = {zip_low(x.a, y.a), zip_low(x.b, y.b), zip_low(x.c, y.c), zip_low(x.d, y.d)};
    acc[t + 1] = {zip_high(x.a, y.a), zip_high(x.b, y.b), zip_high(x.c, y.c), zip_high(x.d, y.d)};
  }
}
template <int N>
inline void from_pairs(I (&acc)[N]) {
  for (int t = 0; t + 1 < N; t += 2) {
    const I x = acc[t], y = acc[t + 1];
    acc[t] = {vuzp1q_s32(x.a, y.a), vuzp1q_s32(x.b, y.b), vuzp1q_s32(x.c, y.c), vuzp1q_s32(x.d, y.d)};
    acc[t + 1] = {vuzp2q_s32(x.a, y.a), vuzp2q_s32(x.b, y.b), vuzp2q_s32(x.c, y.c), vuzp2q_s32(x.d, y.d)};
  }
}
