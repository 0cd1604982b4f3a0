#pragma once
// Q5_1: 32 weights, ŵ = d · q + m with q in 0 … 31.

#include <cstdint>

namespace lissom {

struct BlockQ5_1 {
  uint16_t d, m;   ///< f16
  uint8_t qh[4];   ///< bit i of the little-endian word: fifth bit of weight i
  uint8_t qs[16];  ///< low four bits: byte j holds weight j low, weight j + 16 high
};
static_assert(sizeof(BlockQ5_1) == 24);

}  // namespace lissom
