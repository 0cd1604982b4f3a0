// clang-format off: the order matters
#include "kernels/simd/avx2.h"
#include "kernels/generic/float.inl"
#include "kernels/simd/end.h"
