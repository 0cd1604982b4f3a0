#pragma once
// IQ1_M: 256 weights in 16 sub-blocks of 16, ŵ = d · (2s + 1) · (g ± 1/8) with g in -1, 0, 1, eight weights a
// point of a grid of 2048, IQ1_S's; each point has a shift of its own, s lies in 0 … 7.

#include <cstdint>

namespace lissom {

struct BlockIQ1M {
  uint8_t qs[32];  ///< low eight bits of the points
  uint8_t qh[16];  ///< of point i: byte i / 2, low for even i: three high bits, then 1 where the shift is -1/8
  uint16_t scales[4];  ///< s of sub-block 4·i + k: bits 3k … 3k + 2 of word i; the top bits of all are d, low
                       ///< to high
};
static_assert(sizeof(BlockIQ1M) == 56);

}  // namespace lissom
