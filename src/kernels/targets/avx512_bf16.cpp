// Products of BF16 pairs. Not every CPU of the AVX-512 target has it; fill_bf16() leaves the table alone
// where the CPU does not.
#define LISSOM_AVX512_BF16
// clang-format off
#include "kernels/simd/avx512.h"
#include "kernels/generic/math.inl"
#include "kernels/generic/attention.inl"
// clang-format on

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

/// Attention over pairs of BF16: see generic/attention.inl.
struct Bf16Products {
  static constexpr int kTogether = 2;
  static inline void squeeze(float* p, int64_t n) {
    for (int64_t i = 0; i < n; i += 32) {
      const __m512bh r = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(p + i + 16), _mm512_loadu_ps(p + i));
      _mm512_storeu_si512(p + i / 2, (__m512i)r);
    }
  }
  static inline void join(const float* rows, int64_t n, float* out) {
    // Column d's pair is the low half of d of the first row and of the second.
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7,
                                           22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    for (int64_t d = 0; d < n; d += 16) {
      const __m512bh r = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(rows + n + d), _mm512_loadu_ps(rows + d));
      _mm512_storeu_si512(out + d, _mm512_permutexvar_epi16(order, (__m512i)r));
    }
  }
  static inline F product(F sum, F x, F y) { return {_mm512_dpbf16_ps(sum.v, (__m512bh)x.v, (__m512bh)y.v)}; }
};

// clang-format off
#include "kernels/simd/end.h"
// clang-format on

namespace lissom::kernels::avx512_target {

void fill_bf16(KernelTable& table) {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx512bf16")) return;
  table.prepare_bf16 = prepare_bf16;
  table.bf16_dot = dot_run;
  table.bf16_attention = attention_task<Bf16Products>;
}

}  // namespace lissom::kernels::avx512_target
