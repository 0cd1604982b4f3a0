#include "kernels/table.h"

namespace lissom::kernels {

const KernelTable& kernel_table(Target target) {
  static const KernelTable scalar = [] {
    KernelTable t{};
    scalar_target::fill_int8(t);
    scalar_target::fill_float(t);
    scalar_target::fill_ops(t);
    return t;
  }();
  static const KernelTable avx2 = [] {
    KernelTable t{};
    avx2_target::fill_int8(t);
    avx2_target::fill_float(t);
    avx2_target::fill_ops(t);
    return t;
  }();
  static const KernelTable avx512 = [] {
    KernelTable t{};
    avx512_target::fill_int8(t);
    avx512_target::fill_bf16(t);
    avx512_target::fill_float(t);
    avx512_target::fill_ops(t);
    return t;
  }();
  return target == Target::avx512 ? avx512 : target == Target::avx2 ? avx2 : scalar;
}

}  // namespace lissom::kernels
