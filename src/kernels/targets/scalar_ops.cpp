// The target's vectors, then the code that is written with them, then the end of its attributes.
// clang-format off
#include "kernels/simd/scalar.h"
#include "kernels/generic/math.inl"
#include "kernels/generic/attention.inl"
#include "kernels/generic/ops.inl"
#include "kernels/simd/end.h"
