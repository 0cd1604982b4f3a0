// The most that the instructions of this target do: see generic/peaks.inl.
// clang-format off
#include "kernels/simd/avx512.h"
// clang-format on

struct Int8Peak {
  using Sum = __m512i;
  using Operand = __m512i;
  static constexpr int kSums = 16;
  static constexpr int64_t kOps = 2 * 64;
  static inline Sum step(Sum sum, Operand& x) {
    sum = _mm512_dpbusd_epi32(sum, x, x);
    asm volatile("" : "+v"(sum));
    return sum;
  }
};

struct F32Peak {
  using Sum = __m512;
  using Operand = __m512;
  static constexpr int kSums = 16;
  static constexpr int64_t kOps = 2 * 16;
  static inline Sum step(Sum sum, Operand& x) {
    sum = _mm512_fmadd_ps(x, x, sum);
    asm volatile("" : "+v"(sum));
    return sum;
  }
};

// clang-format off
#include "kernels/generic/peaks.inl"
#include "kernels/simd/end.h"
