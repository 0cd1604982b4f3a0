// The most that dot products of BF16 pairs do. Apart from avx512_peaks.cpp: not every CPU of the target has
// them.
#include <immintrin.h>

#include <cstring>

#include "kernels/table.h"

#if defined(__clang__)
#pragma clang attribute push(                                                                          \
    __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16"))), \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16")
#endif

namespace lissom::kernels::avx512_target {
namespace {

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

}  // namespace
}  // namespace lissom::kernels::avx512_target

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace lissom::kernels::avx512_target {

void fill_bf16_peak(KernelTable& table) {
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512bf16")) table.bf16_peak = {bf16_rounds, int64_t{kSums} * 32 * 2};
}

}  // namespace lissom::kernels::avx512_target
