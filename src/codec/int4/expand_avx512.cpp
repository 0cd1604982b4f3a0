#if defined(__x86_64__)

#include "codec/simd/lanes_avx512.h"

namespace lissom::LANES {
namespace {

LANES_INLINE __m512i nibbles(const uint8_t* p) {
  const __m512i both = _mm512_castsi128_si512(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  const __m512i words =
      _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1), both);
  const __m512i by = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28);
  return _mm512_and_si512(_mm512_srlv_epi32(words, by), _mm512_set1_epi32(15));
}
LANES_INLINE F from_halves(const std::byte* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
LANES_INLINE F from_nibbles(const uint8_t* p) {
  return {_mm512_cvtepi32_ps(nibbles(p))};
}
LANES_INLINE F from_bytes(const uint8_t* p) {
  return {_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))))};
}
LANES_INLINE F from_quarters(const uint8_t* p) {
  int word;
  std::memcpy(&word, p, 4);
  const __m512i by = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i codes = _mm512_srlv_epi32(_mm512_set1_epi32(word), by);
  return {_mm512_cvtepi32_ps(_mm512_and_si512(codes, _mm512_set1_epi32(3)))};
}
using Levels = F;
LANES_INLINE Levels levels_at(const float* p) {
  return load(p);
}
LANES_INLINE F look_up(const Levels& levels, const uint8_t* p) {
  return {_mm512_permutexvar_ps(nibbles(p), levels.v)};
}

}  // namespace
}  // namespace lissom::LANES

#include "codec/int4/expand_impl.h"

namespace lissom::int4 {

const Expanders& avx512_expanders() {
  return LANES::kExpanders;
}

}  // namespace lissom::int4

#endif
