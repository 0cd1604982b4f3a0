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

const KernelTable& kernel_table(Target target) {
  static const KernelTable scalar =
      filled(scalar_target::fill_int8, scalar_target::fill_float, scalar_target::fill_ops);
#if defined(__x86_64__)
  static const KernelTable avx2 =
      filled(avx2_target::fill_int8, avx2_target::fill_float, avx2_target::fill_ops);
  static const KernelTable avx512 = filled(avx512_target::fill_int8, avx512_target::fill_bf16,
                                           avx512_target::fill_float, avx512_target::fill_ops);
  if (target == Target::avx512) return avx512;
  if (target == Target::avx2) return avx2;
#elif defined(__aarch64__)
  static const KernelTable neon =
      filled(neon_target::fill_int8, neon_target::fill_float, neon_target::fill_ops);
  static const KernelTable dotprod =
      filled(neon_dotprod_target::fill_int8, neon_target::fill_float, neon_target::fill_ops);
  static const KernelTable i8mm =
      filled(neon_i8mm_target::fill_int8, neon_target::fill_float, neon_target::fill_ops);
  if (target == Target::neon_i8mm) return i8mm;
  if (target == Target::neon_dotprod) return dotprod;
  if (target == Target::neon) return neon;
#endif
  return scalar;
}

}  // namespace lissom::kernels
