#pragma once
// IQ3_XXS: 256 weights in 8 sub-blocks of 32, ŵ = d · (2s + 1) / 4 · ±level, four weights a point of a grid of
// 256; levels are 4, 12, 20, 28, 36, 44, 52 and 62, s lies in 0 … 15.

#include <cstdint>

namespace lissom {

struct BlockIQ3XXS {
  uint16_t d;         ///< f16
  uint8_t qs[64];     ///< points
  uint8_t signs[32];  ///< of each sub-block a little-endian word: seven signs of each eight weights, s on top
};
static_assert(sizeof(BlockIQ3XXS) == 98);

}  // namespace lissom
