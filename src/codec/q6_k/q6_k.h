#pragma once
// Q6_K: 256 weights in 16 sub-blocks of 16, ŵ = d · s · (q - 32) with q in 0 … 63, s in -128 … 127.

#include <cstdint>

namespace lissom {

struct BlockQ6K {
  uint8_t ql[128];    ///< low four bits; weight 128·n + 32·k + l: byte 64·n + 32·(k % 2) + l, low for k < 2
  uint8_t qh[64];     ///< high two bits; the same weight: bits 2k, 2k + 1 of byte 32·n + l
  int8_t scales[16];  ///< s
  uint16_t d;         ///< f16
};
static_assert(sizeof(BlockQ6K) == 210);

}  // namespace lissom
