#include "kernels/table.h"

namespace lissom::kernels {

namespace {

template <class... Fill>
KernelTable filled(Fill... fill) {
  KernelTable table{};
  (fill(table), ...);
  return table;
}

}  // namespace

// A table is filled when it is first asked for: the code that fills it has its target's instructions, which
// another machine lacks.
const KernelTable& kernel_table(Target target) {
#if defined(__x86_64__)
  if (target == Target::avx512) {
    static const KernelTable table =
        filled(avx512_target::fill_int8, avx512_target::fill_bf16, avx512_target::fill_float,
               avx512_target::fill_ops, avx512_target::fill_peaks, avx512_target::fill_bf16_peak);
    return table;
  }
  if (target == Target::avx2) {
    static const KernelTable table =
        filled(avx2_target::fill_int8, avx2_target::fill_float, avx2_target::fill_ops, avx2_target::fill_peaks);
    return table;
  }
#elif defined(__aarch64__)
  if (target == Target::neon_i8mm) {
    static const KernelTable table = filled(neon_i8mm_target::fill_int8, neon_target::fill_float,
                                            neon_target::fill_ops, neon_i8mm_target::fill_peaks);
    return table;
  }
  if (target == Target::neon_dotprod) {
    static const KernelTable table = filled(neon_dotprod_target::fill_int8, neon_target::fill_float,
                                            neon_target::fill_ops, neon_dotprod_target::fill_peaks);
    return table;
  }
  if (target == Target::neon) {
    static const KernelTable table =
        filled(neon_target::fill_int8, neon_target::fill_float, neon_target::fill_ops, neon_target::fill_peaks);
    return table;
  }
#endif
  static const KernelTable scalar = filled(scalar_target::fill_int8, scalar_target::fill_float,
                                           scalar_target::fill_ops, scalar_target::fill_peaks);
  return scalar;
}

}  // namespace lissom::kernels
