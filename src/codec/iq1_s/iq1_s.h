#pragma once
// IQ1_S: 256 weights in 8 sub-blocks of 32, ŵ = d · (2s + 1) · (g ± 1/8) with g in -1, 0, 1, eight weights a
// point of a grid of 2048; the sign of the shift is the sub-block's, s lies in 0 … 7.

#include <cstdint>

namespace lissom {

struct BlockIQ1S {
  uint16_t d;      ///< f16
  uint8_t qs[32];  ///< low eight bits of the points
  uint16_t qh[8];  ///< of a sub-block: three high bits of its four points, s in bits 12 … 14, bit 15: the shift
                   ///< is -1/8
};
static_assert(sizeof(BlockIQ1S) == 50);

}  // namespace lissom
