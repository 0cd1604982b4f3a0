#pragma once
// lanes_portable.h in AVX-512 (F, BW, DQ, VL).

#include <immintrin.h>

#include <cmath>
#include <cstdint>
#include <cstring>

#include "base/half.h"

// GCC 12 takes the undefined upper parts inside its own intrinsics for uninitialised variables.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

#define LANES lanes_avx512
#define LANES_FN \
  [[maybe_unused]] __attribute__((noinline, target("avx2,f16c,avx512f,avx512bw,avx512dq,avx512vl")))
#define LANES_INLINE                                                                                  \
  [[maybe_unused]] inline __attribute__((always_inline, target("avx2,f16c,avx512f,avx512bw,avx512dq," \
                                                               "avx512vl")))
#define LANES_LAMBDA __attribute__((always_inline, target("avx2,f16c,avx512f,avx512bw,avx512dq,avx512vl")))

namespace lissom::lanes_avx512 {

struct F {
  __m512 v;
};
struct Mask {
  __mmask16 v;
};

LANES_INLINE F set(float x) {
  return {_mm512_set1_ps(x)};
}
LANES_INLINE F load(const float* p) {
  return {_mm512_loadu_ps(p)};
}
LANES_INLINE void store(float* p, F x) {
  _mm512_storeu_ps(p, x.v);
}
LANES_INLINE F operator+(F x, F y) {
  return {_mm512_add_ps(x.v, y.v)};
}
LANES_INLINE F operator-(F x, F y) {
  return {_mm512_sub_ps(x.v, y.v)};
}
LANES_INLINE F operator*(F x, F y) {
  return {_mm512_mul_ps(x.v, y.v)};
}
LANES_INLINE F operator/(F x, F y) {
  return {_mm512_div_ps(x.v, y.v)};
}
LANES_INLINE F min(F x, F y) {
  return {_mm512_min_ps(x.v, y.v)};
}
LANES_INLINE F max(F x, F y) {
  return {_mm512_max_ps(x.v, y.v)};
}
LANES_INLINE F abs(F x) {
  return {_mm512_andnot_ps(_mm512_set1_ps(-0.0F), x.v)};
}
LANES_INLINE Mask operator>(F x, F y) {
  return {_mm512_cmp_ps_mask(x.v, y.v, _CMP_GT_OQ)};
}
LANES_INLINE Mask operator<(F x, F y) {
  return {_mm512_cmp_ps_mask(x.v, y.v, _CMP_LT_OQ)};
}
LANES_INLINE F select(Mask m, F yes, F no) {
  return {_mm512_mask_blend_ps(m.v, no.v, yes.v)};
}
LANES_INLINE F round(F x) {
  return {_mm512_roundscale_ps(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
LANES_INLINE __m256i to_half(__m512 x) {
  return _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
LANES_INLINE F to_half_and_back(F x) {
  return {_mm512_cvtph_ps(to_half(x.v))};
}
LANES_INLINE F lookup32(const float* table, F index) {
  return {_mm512_permutex2var_ps(_mm512_loadu_ps(table), _mm512_cvttps_epi32(index.v),
                                 _mm512_loadu_ps(table + 16))};
}
struct U {
  __m512i v;
};
LANES_INLINE U set_index(uint32_t x) {
  return {_mm512_set1_epi32(static_cast<int>(x))};
}
LANES_INLINE U to_index(F x) {
  return {_mm512_cvttps_epi32(x.v)};
}
LANES_INLINE U gather(const uint32_t* table, U index) {
  return {_mm512_i32gather_epi32(index.v, table, 4)};
}
LANES_INLINE U operator+(U x, U y) {
  return {_mm512_add_epi32(x.v, y.v)};
}
LANES_INLINE U next_digit(U x) {
  return {_mm512_srli_epi32(x.v, 4)};
}
LANES_INLINE U select(Mask m, U yes, U no) {
  return {_mm512_mask_blend_epi32(m.v, no.v, yes.v)};
}
LANES_INLINE void store(uint32_t* p, U x) {
  _mm512_storeu_si512(p, x.v);
}
struct Table8 {
  __m512 v;
};
LANES_INLINE Table8 load_table8(const float* p) {
  const __m256 half = _mm256_loadu_ps(p);
  return {_mm512_insertf32x8(_mm512_castps256_ps512(half), half, 1)};
}
LANES_INLINE F lookup8(Table8 table, U x) {
  return {_mm512_permutexvar_ps(x.v, table.v)};
}
LANES_INLINE void store_half(uint16_t* p, F x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), to_half(x.v));
}
LANES_INLINE void store_int8(int8_t* p, F x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(x.v)));
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

}  // namespace lissom::lanes_avx512
