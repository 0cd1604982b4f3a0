#pragma once
// Q2_K: 256 weights in 16 sub-blocks of 16, ŵ = d · s · q - dmin · m with q in 0 … 3, s and m in 0 … 15.

#include <cstdint>

namespace lissom {

struct BlockQ2K {
  uint8_t scales[16];  ///< sub-block j: s low nibble, m high nibble
  uint8_t qs[64];      ///< weight 128·n + 32·k + l: bits 2k, 2k + 1 of byte 32·n + l
  uint16_t d, dmin;    ///< f16
};
static_assert(sizeof(BlockQ2K) == 84);

}  // namespace lissom
