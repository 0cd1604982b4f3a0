#pragma once
// Q4_0: 32 weights, ŵ = d · (q - 8) with q in 0 … 15.

#include <cstdint>

namespace lissom {

struct BlockQ4_0 {
  uint16_t d;      ///< f16, of either sign
  uint8_t qs[16];  ///< byte j: weight j low, weight j + 16 high
};
static_assert(sizeof(BlockQ4_0) == 18);

}  // namespace lissom
