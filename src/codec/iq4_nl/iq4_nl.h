#pragma once
// IQ4_NL: 32 weights, ŵ = d · level[q] with 16 uneven levels, finer near zero.

#include <cstdint>

namespace lissom {

struct BlockIQ4NL {
  uint16_t d;      ///< f16, of either sign
  uint8_t qs[16];  ///< byte j: weight j low, weight j + 16 high
};
/// The levels that a four-bit code stands for, in IQ4_NL and IQ4_XS.
inline constexpr int8_t kIQ4Levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                          1,    13,   25,  38,  53,  69,  89,  113};
static_assert(sizeof(BlockIQ4NL) == 18);

}  // namespace lissom
