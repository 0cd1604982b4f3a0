// The most that the instructions of this target do: see generic/peaks.inl.
// clang-format off
#include "kernels/simd/neon_dotprod.h"
#include "kernels/simd/neon_f32_peak.h"
// clang-format on

struct Int8Peak {
  using Sum = int32x4_t;
  using Operand = int8x16_t;
  static constexpr int kSums = 16;
  static constexpr int64_t kOps = 2 * 16;
  static inline Sum step(Sum sum, Operand& x) {
    sum = vdotq_s32(sum, x, x);
    asm volatile("" : "+w"(sum));
    return sum;
  }
};

// clang-format off
#include "kernels/generic/peaks.inl"
#include "kernels/simd/end.h"
