#pragma once
// IQ2_S: 256 weights in 16 sub-blocks of 16, ŵ = d · (2s + 1) / 8 · ±level, eight weights a point of a grid of
// 1024; levels are 8, 25 and 43, s lies in 0 … 15.

#include <cstdint>

namespace lissom {

struct BlockIQ2S {
  uint16_t d;         ///< f16
  uint8_t qs[32];     ///< low eight bits of the point of eight weights
  uint8_t signs[32];  ///< bit i: weight i of the eight
  uint8_t qh[8];      ///< high two bits of point 4·i + k: bits 2k, 2k + 1 of byte i
  uint8_t scales[8];  ///< s: byte j / 2, low for even j
};
static_assert(sizeof(BlockIQ2S) == 82);

}  // namespace lissom
