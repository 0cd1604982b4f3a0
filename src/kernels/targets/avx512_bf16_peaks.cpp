// The most that dot products of BF16 pairs do. Apart from avx512_peaks.cpp: not every CPU of the target has
// them.
#define LISSOM_AVX512_BF16
// clang-format off
#include "kernels/simd/avx512.h"
// clang-format on

constexpr int kSums = 16;

void bf16_rounds(int64_t rounds) {
  alignas(64) uint16_t values[32];
  for (uint16_t& v : values) v = 0x3f00;  // ½
  asm volatile("" : : "r"(values) : "memory");
  const __m512i x = _mm512_loadu_si512(values);
  __m512 sums[kSums];
  for (int i = 0; i < kSums; ++i) sums[i] = _mm512_set1_ps(static_cast<float>(i));
  for (; rounds > 0; --rounds)
    for (auto& sum : sums) sum = _mm512_dpbf16_ps(sum, (__m512bh)x, (__m512bh)x);
  for (const auto& sum : sums) asm volatile("" : : "v"(sum));
}

// clang-format off
#include "kernels/simd/end.h"
// clang-format on

namespace lissom::kernels::avx512_target {

void fill_bf16_peak(KernelTable& table) {
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512bf16")) table.bf16_peak = {bf16_rounds, int64_t{kSums} * 32 * 2};
}

}  // namespace lissom::kernels::avx512_target
