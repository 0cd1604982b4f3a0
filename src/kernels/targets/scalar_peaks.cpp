// The most that the instructions of this target do: see generic/peaks.inl.
// clang-format off
#include "kernels/simd/scalar.h"
// clang-format on

struct Int8Peak {
  using Sum = I;
  using Operand = B;
  static constexpr int kSums = 2;
  static constexpr int64_t kOps = 2 * 64;
  static inline Sum step(Sum sum, Operand& x) {
    const int8_t four[4] = {1, 2, 3, 4};
    sum = dot<false>(sum, x, four);
    asm volatile("" : "+m"(sum), "+m"(x));
    return sum;
  }
};

struct F32Peak {
  using Sum = F;
  using Operand = F;
  static constexpr int kSums = 2;
  static constexpr int64_t kOps = 2 * 16;
  static inline Sum step(Sum sum, Operand& x) {
    sum = fma(x, x, sum);
    asm volatile("" : "+m"(sum));
    return sum;
  }
};

// clang-format off
#include "kernels/generic/peaks.inl"
#include "kernels/simd/end.h"
