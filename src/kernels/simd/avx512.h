// See simd/scalar.h for what each operation means.
#if defined(__GNUC__) && !defined(__clang__)
// GCC 12's own headers start "undefined" vectors from themselves.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "base/half.h"
#include "kernels/table.h"

#define LISSOM_TARGET_NAMESPACE avx512_target
#define LISSOM_AVX512 1
// Accumulators that are handed to a function by reference lie in memory.
#define LISSOM_FLATTEN __attribute__((flatten))

// LISSOM_AVX512_BF16: with its products too.
#if defined(__clang__) && defined(LISSOM_AVX512_BF16)
#pragma clang attribute push(                                                                          \
    __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16"))), \
    apply_to = function)
#elif defined(__clang__)
#pragma clang attribute push(                                                               \
    __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni"))), \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")
#if defined(LISSOM_AVX512_BF16)
#pragma GCC target("avx512bf16")
#endif
#endif

namespace lissom::kernels::avx512_target {
namespace {

constexpr int kTile = 12;
constexpr bool kSignedWide = false;
constexpr bool kWidensTables = false;

struct F {
  __m512 v;
};
struct I {
  __m512i v;
};
struct B {
  __m512i v;
};

inline F load(const float* p) {
  return {_mm512_loadu_ps(p)};
}
inline void store(float* p, F x) {
  _mm512_storeu_ps(p, x.v);
}
inline __mmask16 first_lanes(int64_t n) {
  return static_cast<__mmask16>((1U << n) - 1U);
}
inline F load_n(const float* p, int64_t n) {
  return {_mm512_maskz_loadu_ps(first_lanes(n), p)};
}
inline void store_n(float* p, F x, int64_t n) {
  _mm512_mask_storeu_ps(p, first_lanes(n), x.v);
}
inline F set(float x) {
  return {_mm512_set1_ps(x)};
}
inline F add(F x, F y) {
  return {_mm512_add_ps(x.v, y.v)};
}
inline F sub(F x, F y) {
  return {_mm512_sub_ps(x.v, y.v)};
}
inline F mul(F x, F y) {
  return {_mm512_mul_ps(x.v, y.v)};
}
inline F div(F x, F y) {
  return {_mm512_div_ps(x.v, y.v)};
}
inline F fma(F x, F y, F z) {
  return {_mm512_fmadd_ps(x.v, y.v, z.v)};
}
inline F max(F x, F y) {
  return {_mm512_max_ps(x.v, y.v)};
}
inline F min(F x, F y) {
  return {_mm512_min_ps(x.v, y.v)};
}
inline F abs(F x) {
  return {_mm512_abs_ps(x.v)};
}
inline F neg(F x) {
  return {_mm512_xor_ps(x.v, _mm512_set1_ps(-0.0F))};
}
inline F where_less(F x, F limit, F y, F z) {
  return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(x.v, limit.v, _CMP_LT_OQ), z.v, y.v)};
}
inline F where_lanes(int first, int last, F x, F y) {
  const uint32_t m = ((1U << last) - 1U) & ~((1U << first) - 1U);
  return {_mm512_mask_blend_ps(static_cast<__mmask16>(m), y.v, x.v)};
}
inline float reduce_add(F x) {
  const __m256 h = _mm256_add_ps(_mm512_castps512_ps256(x.v), _mm512_extractf32x8_ps(x.v, 1));
  __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  q = _mm_add_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_add_ss(q, _mm_shuffle_ps(q, q, 1)));
}
inline float reduce_max(F x) {
  const __m256 h = _mm256_max_ps(_mm512_castps512_ps256(x.v), _mm512_extractf32x8_ps(x.v, 1));
  __m128 q = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  q = _mm_max_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_max_ss(q, _mm_shuffle_ps(q, q, 1)));
}
inline F scale2(F x, F n) {
  return {_mm512_castsi512_ps(
      _mm512_add_epi32(_mm512_castps_si512(x.v), _mm512_slli_epi32(_mm512_cvtps_epi32(n.v), 23)))};
}
inline F round(F x) {
  return {_mm512_roundscale_ps(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
inline F load_half(const uint16_t* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
inline void store_half(uint16_t* p, F x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(x.v, _MM_FROUND_TO_NEAREST_INT));
}
inline F load_s8(const int8_t* p) {
  return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))))};
}
inline F load_u8(const uint8_t* p) {
  return {_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))))};
}
inline F load_bf16(const uint16_t* p) {
  const __m512i v = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(v, 16))};
}
inline F load_bf16_even(const uint16_t* p) {
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(p), 16))};
}
inline F load_bf16_odd(const uint16_t* p) {
  return {_mm512_castsi512_ps(
      _mm512_and_si512(_mm512_loadu_si512(p), _mm512_set1_epi32(static_cast<int>(0xffff0000U))))};
}

inline I seti(int32_t x) {
  return {_mm512_set1_epi32(x)};
}
template <int N>
inline I shl(I x) {
  return {_mm512_slli_epi32(x.v, N)};
}
inline F to_float(I x) {
  return {_mm512_cvtepi32_ps(x.v)};
}
inline void store_s8(int8_t* p, F x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(x.v)));
}

inline B loadb(const uint8_t* p) {
  return {_mm512_loadu_si512(p)};
}
inline void storeb(uint8_t* p, B x) {
  _mm512_storeu_si512(p, x.v);
}
template <int N>
inline B low_bits(B x) {
  return {_mm512_and_si512(x.v, _mm512_set1_epi8((1 << N) - 1))};
}
template <int First, int N, int To>
inline B bits(B x) {
  const __m512i m = _mm512_set1_epi8(static_cast<char>(((1 << N) - 1) << To));
  if constexpr (First > To)
    return {_mm512_and_si512(_mm512_srli_epi16(x.v, First - To), m)};
  else if constexpr (First < To)
    return {_mm512_and_si512(_mm512_slli_epi16(x.v, To - First), m)};
  else
    return {_mm512_and_si512(x.v, m)};
}
inline B orb(B x, B y) {
  return {_mm512_or_si512(x.v, y.v)};
}
inline __m512i pairs16(F x) {
  const __m512i n = _mm512_cvtps_epi32(x.v);
  return _mm512_or_si512(_mm512_and_si512(n, _mm512_set1_epi32(0xffff)), _mm512_slli_epi32(n, 16));
}
inline void store_affine(uint8_t* p, B x, F by, F plus) {
  const __m512i m = pairs16(by), b = pairs16(plus), low = _mm512_set1_epi16(255);
  const __m512i even = _mm512_add_epi16(_mm512_mullo_epi16(_mm512_and_si512(x.v, low), m), b);
  const __m512i odd = _mm512_add_epi16(_mm512_mullo_epi16(_mm512_srli_epi16(x.v, 8), m), b);
  storeb(p, {_mm512_or_si512(_mm512_srli_epi16(even, 8), _mm512_andnot_si512(low, odd))});
}
struct Table {
  __m512i v;
};
inline Table load_table(const uint8_t* p) {
  return {_mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
inline B lookup(const Table& t, B x) {
  return {_mm512_shuffle_epi8(t.v, x.v)};
}
template <bool Wide>
inline I dot(I acc, B u, const int8_t* a) {
  int32_t four;
  std::memcpy(&four, a, 4);
  return {_mm512_dpbusd_epi32(acc.v, u.v, _mm512_set1_epi32(four))};
}
inline void transpose(F (&r)[16]) {
  // 2 × 2, then 4 × 4 within 128-bit lanes, then the lanes themselves.
  __m512 t[16], q[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_ps(r[i].v, r[i + 1].v);
    t[i + 1] = _mm512_unpackhi_ps(r[i].v, r[i + 1].v);
  }
  for (int i = 0; i < 16; i += 4) {
    q[i] = _mm512_shuffle_ps(t[i], t[i + 2], 0x44);
    q[i + 1] = _mm512_shuffle_ps(t[i], t[i + 2], 0xee);
    q[i + 2] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    q[i + 3] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
  // q[4a + b] holds columns b, b+4, b+8, b+12 of rows 4a … 4a+3, one in each 128-bit lane.
  for (int b = 0; b < 4; ++b) {
    const __m512 x = _mm512_shuffle_f32x4(q[b], q[4 + b], 0x88), y = _mm512_shuffle_f32x4(q[b], q[4 + b], 0xdd);
    const __m512 z = _mm512_shuffle_f32x4(q[8 + b], q[12 + b], 0x88),
                 w = _mm512_shuffle_f32x4(q[8 + b], q[12 + b], 0xdd);
    r[b].v = _mm512_shuffle_f32x4(x, z, 0x88);
    r[b + 8].v = _mm512_shuffle_f32x4(x, z, 0xdd);
    r[b + 4].v = _mm512_shuffle_f32x4(y, w, 0x88);
    r[b + 12].v = _mm512_shuffle_f32x4(y, w, 0xdd);
  }
}

template <int T>
inline void quantize_store(F lo, F hi, F inverse, uint8_t* out, int32_t (&sums)[2]) {
  const __m512i a = _mm512_cvtps_epi32(_mm512_mul_ps(lo.v, inverse.v));
  const __m512i b = _mm512_cvtps_epi32(_mm512_mul_ps(hi.v, inverse.v));
  const __m128i c = _mm512_cvtsepi32_epi8(a), d = _mm512_cvtsepi32_epi8(b);
  // A dot product with ones sums each four; two horizontal steps sum those.
  const __m256i both = _mm256_inserti128_si256(_mm256_castsi128_si256(c), d, 1);
  __m256i s = _mm256_dpbusd_epi32(_mm256_setzero_si256(), _mm256_set1_epi8(1), both);
  s = _mm256_add_epi32(s, _mm256_shuffle_epi32(s, 0x4e));
  s = _mm256_add_epi32(s, _mm256_shuffle_epi32(s, 0xb1));
  sums[0] = _mm256_cvtsi256_si32(s);
  sums[1] = _mm_cvtsi128_si32(_mm256_extracti128_si256(s, 1));
  const auto put = [out](int step, int32_t four) { std::memcpy(out + step * T * 4, &four, 4); };
  put(0, _mm_cvtsi128_si32(c));
  put(1, _mm_extract_epi32(c, 1));
  put(2, _mm_extract_epi32(c, 2));
  put(3, _mm_extract_epi32(c, 3));
  put(4, _mm_cvtsi128_si32(d));
  put(5, _mm_extract_epi32(d, 1));
  put(6, _mm_extract_epi32(d, 2));
  put(7, _mm_extract_epi32(d, 3));
}
