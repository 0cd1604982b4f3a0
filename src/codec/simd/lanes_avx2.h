#pragma once
// lanes_portable.h in AVX2 and F16C.

#include <immintrin.h>

#include <cmath>
#include <cstdint>
#include <cstring>

#include "base/half.h"

#define LANES lanes_avx2
#define LANES_FN [[maybe_unused]] __attribute__((noinline, target("avx2,f16c")))
#define LANES_INLINE [[maybe_unused]] inline __attribute__((always_inline, target("avx2,f16c")))
#define LANES_LAMBDA __attribute__((always_inline, target("avx2,f16c")))

namespace lissom::lanes_avx2 {

struct F {
  __m256 a, b;
};
struct Mask {
  __m256 a, b;
};

LANES_INLINE F set(float x) {
  return {_mm256_set1_ps(x), _mm256_set1_ps(x)};
}
LANES_INLINE F load(const float* p) {
  return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
LANES_INLINE void store(float* p, F x) {
  _mm256_storeu_ps(p, x.a);
  _mm256_storeu_ps(p + 8, x.b);
}
LANES_INLINE F operator+(F x, F y) {
  return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)};
}
LANES_INLINE F operator-(F x, F y) {
  return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)};
}
LANES_INLINE F operator*(F x, F y) {
  return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)};
}
LANES_INLINE F operator/(F x, F y) {
  return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)};
}
LANES_INLINE F min(F x, F y) {
  return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)};
}
LANES_INLINE F max(F x, F y) {
  return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)};
}
LANES_INLINE F abs(F x) {
  const __m256 sign = _mm256_set1_ps(-0.0F);
  return {_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b)};
}
LANES_INLINE Mask operator>(F x, F y) {
  return {_mm256_cmp_ps(x.a, y.a, _CMP_GT_OQ), _mm256_cmp_ps(x.b, y.b, _CMP_GT_OQ)};
}
LANES_INLINE Mask operator<(F x, F y) {
  return {_mm256_cmp_ps(x.a, y.a, _CMP_LT_OQ), _mm256_cmp_ps(x.b, y.b, _CMP_LT_OQ)};
}
LANES_INLINE F select(Mask m, F yes, F no) {
  return {_mm256_blendv_ps(no.a, yes.a, m.a), _mm256_blendv_ps(no.b, yes.b, m.b)};
}
LANES_INLINE F round(F x) {
  constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm256_round_ps(x.a, kNearest), _mm256_round_ps(x.b, kNearest)};
}
LANES_INLINE __m128i to_half(__m256 x) {
  return _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
LANES_INLINE F to_half_and_back(F x) {
  return {_mm256_cvtph_ps(to_half(x.a)), _mm256_cvtph_ps(to_half(x.b))};
}
LANES_INLINE __m256 lookup8x4(const float* table, __m256i index) {
  // A permutation sees the low three bits; bits 3 and 4 choose among the four quarters of the table.
  const __m256 bit3 = _mm256_castsi256_ps(_mm256_slli_epi32(index, 28));
  const __m256 bit4 = _mm256_castsi256_ps(_mm256_slli_epi32(index, 27));
  const __m256 low = _mm256_blendv_ps(_mm256_permutevar8x32_ps(_mm256_loadu_ps(table), index),
                                      _mm256_permutevar8x32_ps(_mm256_loadu_ps(table + 8), index), bit3);
  const __m256 high = _mm256_blendv_ps(_mm256_permutevar8x32_ps(_mm256_loadu_ps(table + 16), index),
                                       _mm256_permutevar8x32_ps(_mm256_loadu_ps(table + 24), index), bit3);
  return _mm256_blendv_ps(low, high, bit4);
}
LANES_INLINE F lookup32(const float* table, F index) {
  return {lookup8x4(table, _mm256_cvttps_epi32(index.a)), lookup8x4(table, _mm256_cvttps_epi32(index.b))};
}
struct U {
  __m256i a, b;
};
LANES_INLINE U set_index(uint32_t x) {
  return {_mm256_set1_epi32(static_cast<int>(x)), _mm256_set1_epi32(static_cast<int>(x))};
}
LANES_INLINE U to_index(F x) {
  return {_mm256_cvttps_epi32(x.a), _mm256_cvttps_epi32(x.b)};
}
LANES_INLINE U gather(const uint32_t* table, U index) {
  const auto* t = reinterpret_cast<const int*>(table);
  return {_mm256_i32gather_epi32(t, index.a, 4), _mm256_i32gather_epi32(t, index.b, 4)};
}
LANES_INLINE U operator+(U x, U y) {
  return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)};
}
LANES_INLINE U next_digit(U x) {
  return {_mm256_srli_epi32(x.a, 4), _mm256_srli_epi32(x.b, 4)};
}
LANES_INLINE U select(Mask m, U yes, U no) {
  return {_mm256_blendv_epi8(no.a, yes.a, _mm256_castps_si256(m.a)),
          _mm256_blendv_epi8(no.b, yes.b, _mm256_castps_si256(m.b))};
}
LANES_INLINE void store(uint32_t* p, U x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x.a);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 8), x.b);
}
struct Table8 {
  __m256 v;
};
LANES_INLINE Table8 load_table8(const float* p) {
  return {_mm256_loadu_ps(p)};
}
LANES_INLINE F lookup8(Table8 table, U x) {
  return {_mm256_permutevar8x32_ps(table.v, x.a), _mm256_permutevar8x32_ps(table.v, x.b)};
}
LANES_INLINE void store_half(uint16_t* p, F x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), to_half(x.a));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 8), to_half(x.b));
}
LANES_INLINE void store_int8(int8_t* p, F x) {
  const __m256i words = _mm256_packs_epi32(_mm256_cvttps_epi32(x.a), _mm256_cvttps_epi32(x.b));
  const __m256i ordered = _mm256_permute4x64_epi64(words, 0xd8);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                   _mm_packs_epi16(_mm256_castsi256_si128(ordered), _mm256_extracti128_si256(ordered, 1)));
}
LANES_INLINE void transpose8(const float* const* in, int c, float* out) {
  __m256 pair[8], quad[8];
  for (int i = 0; i < 8; i += 2) {
    const __m256 x = _mm256_loadu_ps(in[i] + c), y = _mm256_loadu_ps(in[i + 1] + c);
    pair[i] = _mm256_unpacklo_ps(x, y);
    pair[i + 1] = _mm256_unpackhi_ps(x, y);
  }
  for (int i = 0; i < 8; i += 4) {
    quad[i] = _mm256_shuffle_ps(pair[i], pair[i + 2], 0x44);
    quad[i + 1] = _mm256_shuffle_ps(pair[i], pair[i + 2], 0xee);
    quad[i + 2] = _mm256_shuffle_ps(pair[i + 1], pair[i + 3], 0x44);
    quad[i + 3] = _mm256_shuffle_ps(pair[i + 1], pair[i + 3], 0xee);
  }
  for (int i = 0; i < 4; ++i) {
    _mm256_storeu_ps(out + i * 16, _mm256_permute2f128_ps(quad[i], quad[i + 4], 0x20));
    _mm256_storeu_ps(out + (i + 4) * 16, _mm256_permute2f128_ps(quad[i], quad[i + 4], 0x31));
  }
}

}  // namespace lissom::lanes_avx2
