#pragma once
// Q5_0: 32 weights, ŵ = d · (q - 16) with q in 0 … 31.

#include <cstdint>

namespace lissom {

struct BlockQ5_0 {
  uint16_t d;      ///< f16, of either sign
  uint8_t qh[4];   ///< bit i of the little-endian word: fifth bit of weight i
  uint8_t qs[16];  ///< low four bits: byte j holds weight j low, weight j + 16 high
};
static_assert(sizeof(BlockQ5_0) == 22);

}  // namespace lissom
