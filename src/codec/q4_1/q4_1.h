#pragma once
// Q4_1: 32 weights, ŵ = d · q + m with q in 0 … 15.

#include <cstdint>

namespace lissom {

struct BlockQ4_1 {
  uint16_t d, m;   ///< f16
  uint8_t qs[16];  ///< byte j: weight j low, weight j + 16 high
};
static_assert(sizeof(BlockQ4_1) == 20);

}  // namespace lissom
