// See simd/scalar.h for what each operation means.
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

#define LISSOM_TARGET_NAMESPACE avx2_target
// Products of small codes are summed in 16 bits first: narrow_dot(), add_narrow().
#define LISSOM_NARROW_SUMS
// Accumulators that are handed to a function by reference lie in memory.
#define LISSOM_FLATTEN __attribute__((flatten))

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif

namespace lissom::kernels::avx2_target {
namespace {

constexpr int kTile = 2;
/// maddubs saturates at int16: two products of a full unsigned byte overflow it. Codes of 8 bits are taken as
/// signed, |code| ≤ 128 against |a| ≤ 127, which stays below 2^15.
constexpr bool kSignedWide = true;
constexpr bool kWidensTables = true;

struct F {
  __m256 a, b;
};
struct I {
  __m256i a, b;
};
struct B {
  __m256i a, b;
};

inline F load(const float* p) {
  return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
inline void store(float* p, F x) {
  _mm256_storeu_ps(p, x.a);
  _mm256_storeu_ps(p + 8, x.b);
}
inline F load_n(const float* p, int64_t n) {
  alignas(32) float t[16] = {};
  std::memcpy(t, p, static_cast<size_t>(n) * 4);
  return load(t);
}
inline void store_n(float* p, F x, int64_t n) {
  alignas(32) float t[16];
  store(t, x);
  std::memcpy(p, t, static_cast<size_t>(n) * 4);
}
inline F set(float x) {
  return {_mm256_set1_ps(x), _mm256_set1_ps(x)};
}
inline F add(F x, F y) {
  return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)};
}
inline F sub(F x, F y) {
  return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)};
}
inline F mul(F x, F y) {
  return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)};
}
inline F div(F x, F y) {
  return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)};
}
inline F fma(F x, F y, F z) {
  return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
inline F max(F x, F y) {
  return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)};
}
inline F min(F x, F y) {
  return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)};
}
inline F abs(F x) {
  const __m256 m = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
  return {_mm256_and_ps(x.a, m), _mm256_and_ps(x.b, m)};
}
inline F neg(F x) {
  const __m256 m = _mm256_set1_ps(-0.0F);
  return {_mm256_xor_ps(x.a, m), _mm256_xor_ps(x.b, m)};
}
inline F where_less(F x, F limit, F y, F z) {
  return {_mm256_blendv_ps(z.a, y.a, _mm256_cmp_ps(x.a, limit.a, _CMP_LT_OQ)),
          _mm256_blendv_ps(z.b, y.b, _mm256_cmp_ps(x.b, limit.b, _CMP_LT_OQ))};
}
inline F where_lanes(int first, int last, F x, F y) {
  alignas(32) float p[16], q[16];
  store(p, x);
  store(q, y);
  for (int i = first; i < last; ++i) q[i] = p[i];
  return load(q);
}
inline float reduce_add(F x) {
  const __m256 h = _mm256_add_ps(x.a, x.b);
  __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  q = _mm_add_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_add_ss(q, _mm_shuffle_ps(q, q, 1)));
}
inline float reduce_max(F x) {
  const __m256 h = _mm256_max_ps(x.a, x.b);
  __m128 q = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  q = _mm_max_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_max_ss(q, _mm_shuffle_ps(q, q, 1)));
}
inline F scale2(F x, F n) {
  return {_mm256_castsi256_ps(
              _mm256_add_epi32(_mm256_castps_si256(x.a), _mm256_slli_epi32(_mm256_cvtps_epi32(n.a), 23))),
          _mm256_castsi256_ps(
              _mm256_add_epi32(_mm256_castps_si256(x.b), _mm256_slli_epi32(_mm256_cvtps_epi32(n.b), 23)))};
}
inline F round(F x) {
  return {_mm256_round_ps(x.a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
          _mm256_round_ps(x.b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
inline F load_half(const uint16_t* p) {
  return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))),
          _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 8)))};
}
inline void store_half(uint16_t* p, F x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 8), _mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT));
}
inline F load_s8(const int8_t* p) {
  const __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(v)),
          _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(v, 8)))};
}
inline F load_u8(const uint8_t* p) {
  const __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(v)),
          _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(v, 8)))};
}
inline I loadi(const void* p) {
  const auto* q = static_cast<const __m256i*>(p);
  return {_mm256_loadu_si256(q), _mm256_loadu_si256(q + 1)};
}
inline F load_bf16(const uint16_t* p) {
  const auto* q = reinterpret_cast<const __m128i*>(p);
  return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(q)), 16)),
          _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(q + 1)), 16))};
}
inline F load_bf16_even(const uint16_t* p) {
  const I v = loadi(p);
  return {_mm256_castsi256_ps(_mm256_slli_epi32(v.a, 16)), _mm256_castsi256_ps(_mm256_slli_epi32(v.b, 16))};
}
inline F load_bf16_odd(const uint16_t* p) {
  const I v = loadi(p);
  const __m256i m = _mm256_set1_epi32(static_cast<int>(0xffff0000U));
  return {_mm256_castsi256_ps(_mm256_and_si256(v.a, m)), _mm256_castsi256_ps(_mm256_and_si256(v.b, m))};
}

inline I seti(int32_t x) {
  return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)};
}
template <int N>
inline I shl(I x) {
  return {_mm256_slli_epi32(x.a, N), _mm256_slli_epi32(x.b, N)};
}
inline F to_float(I x) {
  return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)};
}
inline void store_s8(int8_t* p, F x) {
  const __m256i w = _mm256_packs_epi32(_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b));
  const __m256i o = _mm256_permute4x64_epi64(w, 0xd8);  // undoes packs' interleaving of 128-bit halves
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                   _mm_packs_epi16(_mm256_castsi256_si128(o), _mm256_extracti128_si256(o, 1)));
}

inline B loadb(const uint8_t* p) {
  const I v = loadi(p);
  return {v.a, v.b};
}
inline void storeb(uint8_t* p, B x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x.a);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 32), x.b);
}
template <int N>
inline B low_bits(B x) {
  const __m256i m = _mm256_set1_epi8((1 << N) - 1);
  return {_mm256_and_si256(x.a, m), _mm256_and_si256(x.b, m)};
}
template <int By>
inline __m256i shift16(__m256i x) {
  if constexpr (By > 0)
    return _mm256_srli_epi16(x, By);
  else if constexpr (By < 0)
    return _mm256_slli_epi16(x, -By);
  else
    return x;
}
template <int First, int N, int To>
inline B bits(B x) {
  const __m256i m = _mm256_set1_epi8(static_cast<char>(((1 << N) - 1) << To));
  return {_mm256_and_si256(shift16<First - To>(x.a), m), _mm256_and_si256(shift16<First - To>(x.b), m)};
}
inline B orb(B x, B y) {
  return {_mm256_or_si256(x.a, y.a), _mm256_or_si256(x.b, y.b)};
}
inline __m256i pairs16(__m256 x) {
  const __m256i n = _mm256_cvtps_epi32(x);
  return _mm256_or_si256(_mm256_and_si256(n, _mm256_set1_epi32(0xffff)), _mm256_slli_epi32(n, 16));
}
inline __m256i affine8(__m256i x, __m256 by, __m256 plus) {
  const __m256i m = pairs16(by), b = pairs16(plus), low = _mm256_set1_epi16(255);
  const __m256i even = _mm256_add_epi16(_mm256_mullo_epi16(_mm256_and_si256(x, low), m), b);
  const __m256i odd = _mm256_add_epi16(_mm256_mullo_epi16(_mm256_srli_epi16(x, 8), m), b);
  return _mm256_or_si256(_mm256_srli_epi16(even, 8), _mm256_andnot_si256(low, odd));
}
inline void store_affine(uint8_t* p, B x, F by, F plus) {
  storeb(p, {affine8(x.a, by.a, plus.a), affine8(x.b, by.b, plus.b)});
}
struct Table {
  __m256i v;
};
inline Table load_table(const uint8_t* p) {
  return {_mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
inline B lookup(const Table& t, B x) {
  return {_mm256_shuffle_epi8(t.v, x.a), _mm256_shuffle_epi8(t.v, x.b)};
}

inline __m256i dot_half(__m256i acc, __m256i pairs) {
  return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
/// sums + Σ of two products a lane of 16 bits; what they add up to goes to lanes of 32 bits with add_narrow().
inline I narrow_dot(I sums, B u, const int8_t* a) {
  int32_t four;
  std::memcpy(&four, a, 4);
  const __m256i x = _mm256_set1_epi32(four);
  return {_mm256_add_epi16(sums.a, _mm256_maddubs_epi16(u.a, x)),
          _mm256_add_epi16(sums.b, _mm256_maddubs_epi16(u.b, x))};
}
inline I add_narrow(I acc, I sums) {
  return {dot_half(acc.a, sums.a), dot_half(acc.b, sums.b)};
}
template <bool Wide>
inline I dot(I acc, B u, const int8_t* a) {
  int32_t four;
  std::memcpy(&four, a, 4);
  const __m256i x = _mm256_set1_epi32(four);
  if constexpr (Wide) {
    const __m256i flip = _mm256_set1_epi8(static_cast<char>(0x80));
    const __m256i wa = _mm256_xor_si256(u.a, flip), wb = _mm256_xor_si256(u.b, flip);
    return {dot_half(acc.a, _mm256_maddubs_epi16(_mm256_abs_epi8(wa), _mm256_sign_epi8(x, wa))),
            dot_half(acc.b, _mm256_maddubs_epi16(_mm256_abs_epi8(wb), _mm256_sign_epi8(x, wb)))};
  } else {
    return {dot_half(acc.a, _mm256_maddubs_epi16(u.a, x)), dot_half(acc.b, _mm256_maddubs_epi16(u.b, x))};
  }
}
inline void transpose(F (&r)[16]) {
  alignas(32) float t[16][16];
  for (int i = 0; i < 16; ++i) {
    alignas(32) float row[16];
    store(row, r[i]);
    for (int j = 0; j < 16; ++j) t[j][i] = row[j];
  }
  for (int i = 0; i < 16; ++i) r[i] = load(t[i]);
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
