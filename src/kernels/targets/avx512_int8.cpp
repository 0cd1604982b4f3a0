// The target's vectors, then the code that is written with them, then the end of its attributes.
// clang-format off
#include "kernels/simd/avx512.h"
// clang-format on
#define LISSOM_PREPARE_TILE

/// The largest magnitude of 32 values, in each lane that of two; a NaN or an infinity is larger than all
/// numbers.
inline __m512i magnitudes(const float* x) {
  const __m512i sign = _mm512_set1_epi32(static_cast<int>(0x80000000U));
  const auto absolute = [&](const float* p) { return _mm512_andnot_si512(sign, _mm512_loadu_si512(p)); };
  return _mm512_max_epu32(absolute(x), absolute(x + 16));
}

/// The largest magnitudes of a group of twelve tokens, in lanes 0 … 11.
inline __m512 largest_of(const float* const (&x)[12]) {
  // Two tokens, then four side by side in 128 bits, which four parts hold.
  const auto two = [&](int t) {
    const __m512i a = magnitudes(x[t]), b = magnitudes(x[t + 1]);
    return _mm512_max_epu32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
  };
  const auto four = [&](int t) {
    const __m512i a = two(t), b = two(t + 2);
    const __m512i parts = _mm512_max_epu32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
    const __m256i half = _mm256_max_epu32(_mm512_castsi512_si256(parts), _mm512_extracti64x4_epi64(parts, 1));
    return _mm_max_epu32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
  };
  __m512i all = _mm512_castsi128_si512(four(0));
  all = _mm512_inserti32x4(all, four(4), 1);
  all = _mm512_inserti32x4(all, four(8), 2);
  return _mm512_castsi512_ps(_mm512_inserti32x4(all, _mm_setzero_si128(), 3));
}

/// quantize_group() for all tokens of a tile, which share the horizontal steps.
inline void quantize_groups(const float* const (&x)[12], uint8_t* group) {
  constexpr int kT = 12;
  const __m512 largest = largest_of(x), zero = _mm512_setzero_ps();
  const __mmask16 tiny = _mm512_cmp_ps_mask(largest, _mm512_set1_ps(3e-36F), _CMP_LT_OQ);
  const __m512 inverse = _mm512_mask_blend_ps(tiny, _mm512_div_ps(_mm512_set1_ps(127.0F), largest), zero);
  const __m512 size = _mm512_mask_blend_ps(tiny, _mm512_mul_ps(largest, _mm512_set1_ps(1.0F / 127.0F)), zero);
  const __m512 scale = _mm512_add_ps(size, _mm512_mul_ps(largest, zero));
  alignas(64) float by[16];
  _mm512_store_ps(by, inverse);

  // In each 128 bits of a token's codes as 16 bits: four columns of the first half of the group, then four of
  // the second.
  const auto codes = [&](int t) {
    const __m512 b = _mm512_set1_ps(by[t]);
    return _mm512_packs_epi32(_mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x[t]), b)),
                              _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x[t] + 16), b)));
  };
  __m512i minus[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
  const auto put = [&](auto first, __m512i steps, int half) {
    constexpr int kFirst = decltype(first)::value;
    uint8_t* to = group + 4 * kFirst + half * 4 * kT * 4;
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_castsi512_si128(steps));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 4 * kT), _mm512_extracti32x4_epi32(steps, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 8 * kT), _mm512_extracti32x4_epi32(steps, 2));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 12 * kT), _mm512_extracti32x4_epi32(steps, 3));
    const __m512i fours = _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_set1_epi8(1), steps);
    const __m256i eights = _mm256_add_epi32(_mm512_castsi512_si256(fours), _mm512_extracti64x4_epi64(fours, 1));
    const __m128i sums = _mm_add_epi32(_mm256_castsi256_si128(eights), _mm256_extracti128_si256(eights, 1));
    minus[half] = _mm512_inserti32x4(minus[half], _mm_sub_epi32(_mm_setzero_si128(), sums), kFirst / 4);
  };
  const auto four = [&](auto first) {
    constexpr int kFirst = decltype(first)::value;
    const __m512i a = _mm512_packs_epi16(codes(kFirst), codes(kFirst + 1));
    const __m512i b = _mm512_packs_epi16(codes(kFirst + 2), codes(kFirst + 3));
    const __m512 fa = _mm512_castsi512_ps(a), fb = _mm512_castsi512_ps(b);
    put(first, _mm512_castps_si512(_mm512_shuffle_ps(fa, fb, 0x88)), 0);
    put(first, _mm512_castps_si512(_mm512_shuffle_ps(fa, fb, 0xdd)), 1);
  };
  four(std::integral_constant<int, 0>{});
  four(std::integral_constant<int, 4>{});
  four(std::integral_constant<int, 8>{});

  const __mmask16 tokens = (1U << kT) - 1U;
  const __m512i both = _mm512_add_epi32(minus[0], minus[1]);
  const __m512 sum = _mm512_mul_ps(scale, _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_setzero_si512(), both)));
  _mm512_mask_storeu_ps(group + 32 * kT, tokens, scale);
  _mm512_mask_storeu_ps(group + 36 * kT, tokens, sum);
  _mm512_mask_storeu_epi32(group + 40 * kT, tokens, both);
  _mm512_mask_storeu_epi32(group + 44 * kT, tokens, minus[0]);
  _mm512_mask_storeu_epi32(group + 48 * kT, tokens, minus[1]);
}

/// prepare_int8() of more than eight tokens.
void prepare_tile(const float* x, int64_t cols, int64_t count, uint8_t* out) {
  static constexpr float kNone[32] = {};
  for (int64_t k = 0; k < cols; k += 32, out += 12 * kInt8GroupBytes) {
    const float* rows[12];
    for (int64_t t = 0; t < 12; ++t) rows[t] = t < count ? x + t * cols + k : kNone;
    quantize_groups(rows, out);
  }
}

// clang-format off
#include "kernels/generic/int8.inl"
#include "kernels/simd/end.h"
