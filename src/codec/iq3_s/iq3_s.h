#pragma once
// IQ3_S: 256 weights in 8 sub-blocks of 32, ŵ = d · (2s + 1) · ±level, four weights a point of a grid of 512;
// levels are the odd numbers from 1 to 15, s lies in 0 … 15.

#include <cstdint>

namespace lissom {

struct BlockIQ3S {
  uint16_t d;         ///< f16
  uint8_t qs[64];     ///< low eight bits of the points
  uint8_t qh[8];      ///< the ninth bit of point i: bit i % 8 of byte i / 8
  uint8_t signs[32];  ///< bit i of a byte: weight i of eight
  uint8_t scales[4];  ///< s: byte j / 2, low for even j
};
static_assert(sizeof(BlockIQ3S) == 110);

}  // namespace lissom
