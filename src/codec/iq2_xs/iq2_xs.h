#pragma once
// IQ2_XS: 256 weights in 16 sub-blocks of 16, ŵ = d · (2s + 1) / 8 · ±level, eight weights a point of a grid of
// 512; levels are 8, 25 and 43, s lies in 0 … 15.

#include <cstdint>

namespace lissom {

struct BlockIQ2XS {
  uint16_t d;         ///< f16
  uint16_t qs[32];    ///< of eight weights: the point in nine bits, seven signs above
  uint8_t scales[8];  ///< s: byte j / 2, low for even j
};
static_assert(sizeof(BlockIQ2XS) == 74);

}  // namespace lissom
