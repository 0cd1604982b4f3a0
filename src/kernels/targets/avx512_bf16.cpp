// The dot product of BF16 pairs. Not every CPU of the AVX-512 target has it; fill_bf16() leaves the table alone
// where the CPU does not.
#include <immintrin.h>

#include <cstring>

#include "base/half.h"
#include "kernels/table.h"

#if defined(__clang__)
#pragma clang attribute push(                                                                          \
    __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16"))), \
    apply_to = function)
#else
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16")
#endif

namespace lissom::kernels::avx512_target {
namespace {

template <int T>
void dot_tile(const uint8_t* panel, const uint16_t* x, int64_t pairs, int64_t count, int64_t rows,
              const float* bias, float* y, int64_t stride) {
  __m512 acc[T];  // of each token: one lane for each of the panel's rows
  for (int t = 0; t < T; ++t) acc[t] = _mm512_setzero_ps();
  for (int64_t k = 0; k < pairs; ++k, panel += 64, x += 2 * T) {
    const __m512i w = _mm512_loadu_si512(panel);
    for (int t = 0; t < T; ++t) {
      int32_t pair;
      std::memcpy(&pair, x + 2 * t, 4);
      acc[t] = _mm512_dpbf16_ps(acc[t], (__m512bh)w, (__m512bh)_mm512_set1_epi32(pair));
    }
  }
  const auto lanes = static_cast<__mmask16>((1U << rows) - 1U);
  const __m512 b = bias == nullptr ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(lanes, bias);
  for (int64_t t = 0; t < count; ++t) _mm512_mask_storeu_ps(y + t * stride, lanes, _mm512_add_ps(acc[t], b));
}

void dot_run(const uint8_t* panel, const PreparedInput& x, int64_t first, int64_t last, int64_t rows,
             const float* bias, float* y, int64_t stride) {
  const int64_t pairs = (x.cols + 1) / 2;
  for (int64_t i = first; i < last; ++i) {
    const int64_t count = x.m - i * x.tile < x.tile ? x.m - i * x.tile : x.tile;
    const uint16_t* in = x.bf16 + i * x.tile * pairs * 2;
    float* out = y + i * x.tile * stride;
    switch (padded_tile(count)) {
      case 1:
        dot_tile<1>(panel, in, pairs, count, rows, bias, out, stride);
        break;
      case 2:
        dot_tile<2>(panel, in, pairs, count, rows, bias, out, stride);
        break;
      case 4:
        dot_tile<4>(panel, in, pairs, count, rows, bias, out, stride);
        break;
      case 8:
        dot_tile<8>(panel, in, pairs, count, rows, bias, out, stride);
        break;
      default:
        dot_tile<12>(panel, in, pairs, count, rows, bias, out, stride);
    }
  }
}

/// Rounds to nearest even and pairs columns: [pair][T][2].
void prepare_bf16(const float* x, int64_t cols, int64_t count, uint16_t* out) {
  const int64_t T = padded_tile(count), pairs = (cols + 1) / 2;
  if (count < T) std::memset(out, 0, static_cast<size_t>(pairs * T * 4));
  for (int64_t t = 0; t < count; ++t) {
    const float* row = x + t * cols;
    uint16_t* to = out + 2 * t;
    int64_t k = 0;
    for (; k + 16 <= cols; k += 16) {
      alignas(32) uint32_t rounded[8];
      const __m256bh r = _mm512_cvtneps_pbh(_mm512_loadu_ps(row + k));
      std::memcpy(rounded, &r, 32);
      for (int j = 0; j < 8; ++j, to += 2 * T) std::memcpy(to, &rounded[j], 4);
    }
    for (; k < cols; k += 2, to += 2 * T) {
      to[0] = float_to_bf16(row[k]);
      to[1] = k + 1 < cols ? float_to_bf16(row[k + 1]) : uint16_t{0};
    }
  }
}

}  // namespace
}  // namespace lissom::kernels::avx512_target

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace lissom::kernels::avx512_target {

void fill_bf16(KernelTable& table) {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx512bf16")) return;
  table.prepare_bf16 = prepare_bf16;
  table.bf16_dot = dot_run;
}

}  // namespace lissom::kernels::avx512_target
