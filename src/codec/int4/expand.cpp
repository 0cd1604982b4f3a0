#include "codec/int4/expand.h"

#include <algorithm>
#include <cstring>

#include "base/cpu.h"
#include "base/half.h"

#if defined(__x86_64__)
#include <immintrin.h>
// GCC 12 takes the undefined upper parts inside its own intrinsics for uninitialised variables.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#endif

// Nothing here fuses a multiplication and an addition: every target computes the same bits.

namespace lissom::int4 {
namespace {

namespace portable {

#define LISSOM_TARGET

struct Sixteen {
  float x[16];
};
template <class F>
Sixteen each(F f) {
  Sixteen out;
  for (size_t i = 0; i < 16; ++i) out.x[i] = f(i);
  return out;
}
Sixteen operator+(const Sixteen& a, const Sixteen& b) {
  return each([&](size_t i) { return a.x[i] + b.x[i]; });
}
Sixteen operator*(const Sixteen& a, const Sixteen& b) {
  return each([&](size_t i) { return a.x[i] * b.x[i]; });
}
Sixteen set(float x) {
  return each([&](size_t) { return x; });
}
Sixteen load(const float* p) {
  return each([&](size_t i) { return p[i]; });
}
void store(float* p, const Sixteen& a) {
  std::memcpy(p, a.x, sizeof a.x);
}
Sixteen from_halves(const std::byte* p) {
  return each([&](size_t i) {
    uint16_t half;
    std::memcpy(&half, p + 2 * i, 2);
    return half_to_float(half);
  });
}
Sixteen from_nibbles(const uint8_t* p) {
  return each([&](size_t i) { return static_cast<float>((p[i / 2] >> (4 * (i % 2))) & 15); });
}
Sixteen from_bytes(const uint8_t* p) {
  return each([&](size_t i) { return static_cast<float>(p[i]); });
}
Sixteen from_quarters(const uint8_t* p) {
  return each([&](size_t i) { return static_cast<float>((p[i / 4] >> (2 * (i % 4))) & 3); });
}
using Levels = const float*;
Levels levels_at(const float* p) {
  return p;
}
Sixteen look_up(const Levels& levels, const uint8_t* p) {
  return each([&](size_t i) { return levels[(p[i / 2] >> (4 * (i % 2))) & 15]; });
}

#include "codec/int4/expand.inl"
#undef LISSOM_TARGET

}  // namespace portable

#if defined(__x86_64__)

namespace with_avx2 {

#define LISSOM_TARGET __attribute__((target("avx2,f16c")))
#define LISSOM_INLINE LISSOM_TARGET inline

struct Sixteen {
  __m256 a, b;
};
LISSOM_INLINE Sixteen operator+(Sixteen x, Sixteen y) {
  return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)};
}
LISSOM_INLINE Sixteen operator*(Sixteen x, Sixteen y) {
  return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)};
}
LISSOM_INLINE Sixteen set(float x) {
  return {_mm256_set1_ps(x), _mm256_set1_ps(x)};
}
LISSOM_INLINE Sixteen load(const float* p) {
  return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
LISSOM_INLINE void store(float* p, Sixteen x) {
  _mm256_storeu_ps(p, x.a);
  _mm256_storeu_ps(p + 8, x.b);
}
LISSOM_INLINE __m256i word(const uint8_t* p) {
  int w;
  std::memcpy(&w, p, 4);
  return _mm256_set1_epi32(w);
}
LISSOM_INLINE __m256i shifted(__m256i words, __m256i by, int mask) {
  return _mm256_and_si256(_mm256_srlv_epi32(words, by), _mm256_set1_epi32(mask));
}
LISSOM_INLINE Sixteen from_halves(const std::byte* p) {
  const __m256i all = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return {_mm256_cvtph_ps(_mm256_castsi256_si128(all)), _mm256_cvtph_ps(_mm256_extracti128_si256(all, 1))};
}
LISSOM_INLINE __m256i nibbles(const uint8_t* p) {
  return shifted(word(p), _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28), 15);
}
LISSOM_INLINE Sixteen from_nibbles(const uint8_t* p) {
  return {_mm256_cvtepi32_ps(nibbles(p)), _mm256_cvtepi32_ps(nibbles(p + 4))};
}
LISSOM_INLINE Sixteen from_bytes(const uint8_t* p) {
  const __m128i all = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(all)),
          _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(all, 8)))};
}
LISSOM_INLINE Sixteen from_quarters(const uint8_t* p) {
  const __m256i words = word(p);
  return {_mm256_cvtepi32_ps(shifted(words, _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14), 3)),
          _mm256_cvtepi32_ps(shifted(words, _mm256_setr_epi32(16, 18, 20, 22, 24, 26, 28, 30), 3))};
}
using Levels = Sixteen;
LISSOM_INLINE Levels levels_at(const float* p) {
  return load(p);
}
LISSOM_INLINE __m256 level(const Levels& levels, __m256i at) {
  const __m256 high = _mm256_castsi256_ps(_mm256_slli_epi32(at, 28));  // bit 3 as the sign
  return _mm256_blendv_ps(_mm256_permutevar8x32_ps(levels.a, at), _mm256_permutevar8x32_ps(levels.b, at), high);
}
LISSOM_INLINE Sixteen look_up(const Levels& levels, const uint8_t* p) {
  return {level(levels, nibbles(p)), level(levels, nibbles(p + 4))};
}

#include "codec/int4/expand.inl"
#undef LISSOM_INLINE
#undef LISSOM_TARGET

}  // namespace with_avx2

namespace with_avx512 {

#define LISSOM_TARGET __attribute__((target("avx2,f16c,avx512f,avx512bw,avx512dq,avx512vl")))
#define LISSOM_INLINE LISSOM_TARGET inline

struct Sixteen {
  __m512 a;
};
LISSOM_INLINE Sixteen operator+(Sixteen x, Sixteen y) {
  return {_mm512_add_ps(x.a, y.a)};
}
LISSOM_INLINE Sixteen operator*(Sixteen x, Sixteen y) {
  return {_mm512_mul_ps(x.a, y.a)};
}
LISSOM_INLINE Sixteen set(float x) {
  return {_mm512_set1_ps(x)};
}
LISSOM_INLINE Sixteen load(const float* p) {
  return {_mm512_loadu_ps(p)};
}
LISSOM_INLINE void store(float* p, Sixteen x) {
  _mm512_storeu_ps(p, x.a);
}
LISSOM_INLINE Sixteen from_halves(const std::byte* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
LISSOM_INLINE __m512i nibbles(const uint8_t* p) {
  const __m512i both = _mm512_castsi128_si512(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  const __m512i words =
      _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1), both);
  const __m512i by = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28);
  return _mm512_and_si512(_mm512_srlv_epi32(words, by), _mm512_set1_epi32(15));
}
LISSOM_INLINE Sixteen from_nibbles(const uint8_t* p) {
  return {_mm512_cvtepi32_ps(nibbles(p))};
}
LISSOM_INLINE Sixteen from_bytes(const uint8_t* p) {
  return {_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))))};
}
LISSOM_INLINE Sixteen from_quarters(const uint8_t* p) {
  int word;
  std::memcpy(&word, p, 4);
  const __m512i by = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i codes = _mm512_srlv_epi32(_mm512_set1_epi32(word), by);
  return {_mm512_cvtepi32_ps(_mm512_and_si512(codes, _mm512_set1_epi32(3)))};
}
using Levels = Sixteen;
LISSOM_INLINE Levels levels_at(const float* p) {
  return load(p);
}
LISSOM_INLINE Sixteen look_up(const Levels& levels, const uint8_t* p) {
  return {_mm512_permutexvar_ps(nibbles(p), levels.a)};
}

#include "codec/int4/expand.inl"
#undef LISSOM_INLINE
#undef LISSOM_TARGET

}  // namespace with_avx512

#endif

}  // namespace

const Expanders& expanders() {
#if defined(__x86_64__)
  const auto target = active_target();
  if (target && *target == Target::avx512) return with_avx512::kTable;
  if (target && *target == Target::avx2) return with_avx2::kTable;
#endif
  return portable::kTable;
}

const Expanders& portable_expanders() {
  return portable::kTable;
}

}  // namespace lissom::int4
