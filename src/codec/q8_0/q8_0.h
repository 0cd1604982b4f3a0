#pragma once
// Q8_0: 32 weights, ŵ = d · q with q in -128 … 127 (encode uses -127 … 127).

#include <cstdint>

namespace lissom {

struct BlockQ8_0 {
  uint16_t d;     ///< f16
  int8_t qs[32];  ///< one code each
};
static_assert(sizeof(BlockQ8_0) == 34);

}  // namespace lissom
