// What generic/peaks.inl asks of a target, as far as the NEON targets share it. Included after simd/neon*.h: it
// has no guard and no namespace of its own.

struct F32Peak {
  using Sum = float32x4_t;
  using Operand = float32x4_t;
  static constexpr int kSums = 16;
  static constexpr int64_t kOps = 2 * 4;
  static inline Sum step(Sum sum, Operand& x) {
    sum = vfmaq_f32(sum, x, x);
    asm volatile("" : "+w"(sum));
    return sum;
  }
};
