#pragma once
// IQ2_XXS: 256 weights in 8 sub-blocks of 32, ŵ = d · (2s + 1) / 8 · ±level, eight weights a point of a grid of
// 256; levels are 8, 25 and 43, s lies in 0 … 15.

#include <cstdint>

namespace lissom {

struct BlockIQ2XXS {
  uint16_t d;  ///< f16
  struct {
    uint8_t point[4];
    uint8_t
        signs[4];  ///< a little-endian word: seven signs of each eight weights from bit 0 on, s in bits 28 … 31
  } subs[8];
};
static_assert(sizeof(BlockIQ2XXS) == 66);

}  // namespace lissom
