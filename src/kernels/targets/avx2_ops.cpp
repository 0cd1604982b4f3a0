// clang-format off: the order matters
#include "kernels/simd/avx2.h"
#include "kernels/generic/ops.inl"
#include "kernels/generic/attention.inl"
#include "kernels/simd/end.h"
