#pragma once
// Q3_K: 256 weights in 16 sub-blocks of 16, ŵ = d · (s - 32) · (q - 4) with q in 0 … 7, s in 0 … 63.

#include <cstdint>

namespace lissom {

struct BlockQ3K {
  uint8_t hmask[32];   ///< weight 128·n + 32·k + l: bit 4n + k of byte l is the third bit of q
  uint8_t qs[64];      ///< low two bits of q, as in Q2_K
  uint8_t scales[12];  ///< low nibbles: s[j] in byte j % 8, low for j < 8; then two bits each in bytes 8 … 11:
                       ///< s[j]'s at shift 2·(j / 4) of byte 8 + j % 4
  uint16_t d;  ///< f16
};
static_assert(sizeof(BlockQ3K) == 110);

}  // namespace lissom
