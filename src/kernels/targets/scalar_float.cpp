// clang-format off: the order matters
#include "kernels/simd/scalar.h"
#include "kernels/generic/float.inl"
#include "kernels/simd/end.h"
