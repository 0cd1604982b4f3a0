#pragma once
// TQ2_0: 256 weights of three levels, ŵ = d · (q - 1), two bits each. A code of 3 reads back as 2·d; none is
// written, since the type stands for ternary weights.

#include <cstdint>

namespace lissom {

struct BlockTQ20 {
  uint8_t qs[64];  ///< weight 128·n + 32·k + l: bits 2k, 2k + 1 of byte 32·n + l
  uint16_t d;      ///< f16
};
static_assert(sizeof(BlockTQ20) == 66);

}  // namespace lissom
