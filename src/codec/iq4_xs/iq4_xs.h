#pragma once
// IQ4_XS: 256 weights in 8 sub-blocks of 32, ŵ = d · (s - 32) · level[q] with IQ4_NL's levels, s in 0 … 63.

#include <cstdint>

namespace lissom {

struct BlockIQ4XS {
  uint16_t d;           ///< f16
  uint16_t scales_h;    ///< bits 2j, 2j + 1: high two bits of s[j]
  uint8_t scales_l[4];  ///< low four bits of s[j]: byte j / 2, low for even j
  uint8_t qs[128];      ///< byte 16·j + i: weights i (low) and i + 16 (high) of sub-block j
};
static_assert(sizeof(BlockIQ4XS) == 136);

}  // namespace lissom
