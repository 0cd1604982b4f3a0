#if defined(__x86_64__)

#include "codec/simd/lanes_avx2.h"

namespace lissom::LANES {
namespace {

LANES_INLINE __m256i word(const uint8_t* p) {
  int w;
  std::memcpy(&w, p, 4);
  return _mm256_set1_epi32(w);
}
LANES_INLINE __m256i shifted(__m256i words, __m256i by, int mask) {
  return _mm256_and_si256(_mm256_srlv_epi32(words, by), _mm256_set1_epi32(mask));
}
LANES_INLINE __m256i nibbles(const uint8_t* p) {
  return shifted(word(p), _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28), 15);
}
LANES_INLINE F from_halves(const std::byte* p) {
  const __m256i all = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return {_mm256_cvtph_ps(_mm256_castsi256_si128(all)), _mm256_cvtph_ps(_mm256_extracti128_si256(all, 1))};
}
LANES_INLINE F from_nibbles(const uint8_t* p) {
  return {_mm256_cvtepi32_ps(nibbles(p)), _mm256_cvtepi32_ps(nibbles(p + 4))};
}
LANES_INLINE F from_bytes(const uint8_t* p) {
  const __m128i all = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(all)),
          _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(all, 8)))};
}
LANES_INLINE F from_quarters(const uint8_t* p) {
  const __m256i words = word(p);
  return {_mm256_cvtepi32_ps(shifted(words, _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14), 3)),
          _mm256_cvtepi32_ps(shifted(words, _mm256_setr_epi32(16, 18, 20, 22, 24, 26, 28, 30), 3))};
}
using Levels = F;
LANES_INLINE Levels levels_at(const float* p) {
  return load(p);
}
LANES_INLINE __m256 level(const Levels& levels, __m256i at) {
  const __m256 high = _mm256_castsi256_ps(_mm256_slli_epi32(at, 28));  // bit 3 as the sign
  return _mm256_blendv_ps(_mm256_permutevar8x32_ps(levels.a, at), _mm256_permutevar8x32_ps(levels.b, at), high);
}
LANES_INLINE F look_up(const Levels& levels, const uint8_t* p) {
  return {level(levels, nibbles(p)), level(levels, nibbles(p + 4))};
}

}  // namespace
}  // namespace lissom::LANES

#include "codec/int4/expand_impl.h"

namespace lissom::int4 {

const Expanders& avx2_expanders() {
  return LANES::kExpanders;
}

}  // namespace lissom::int4

#endif
