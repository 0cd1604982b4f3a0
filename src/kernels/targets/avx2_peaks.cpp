// The most that the instructions of this target do: see generic/peaks.inl.
// clang-format off
#include "kernels/simd/avx2.h"
// clang-format on

struct Int8Peak {
  using Sum = __m256i;
  using Operand = __m256i;
  static constexpr int kSums = 12;
  static constexpr int64_t kOps = 2 * 32;
  static inline Sum step(Sum sum, Operand& x) {
    sum = dot_half(sum, _mm256_maddubs_epi16(x, x));
    asm volatile("" : "+x"(sum), "+x"(x));
    return sum;
  }
};

struct F32Peak {
  using Sum = __m256;
  using Operand = __m256;
  static constexpr int kSums = 12;
  static constexpr int64_t kOps = 2 * 8;
  static inline Sum step(Sum sum, Operand& x) {
    sum = _mm256_fmadd_ps(x, x, sum);
    asm volatile("" : "+x"(sum));
    return sum;
  }
};

// clang-format off
#include "kernels/generic/peaks.inl"
#include "kernels/simd/end.h"
