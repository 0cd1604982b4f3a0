#pragma once
// NVFP4: 64 weights in 4 sub-blocks of 16, ŵ = s / 2 · level[q] with MXFP4's levels; s is an unsigned float of
// four exponent and three mantissa bits (bias 7). GGUF keeps a scale of the whole tensor, where there is one,
// in a tensor of its own.

#include <cmath>
#include <cstdint>

namespace lissom {

struct BlockNVFP4 {
  uint8_t s[4];    ///< the top bit is not used; 0x7f stands for 0
  uint8_t qs[32];  ///< byte 8·j + i: weights i (low) and i + 8 (high) of sub-block j
};
static_assert(sizeof(BlockNVFP4) == 36);

inline float ue4m3_half(uint8_t s) {
  const int exponent = (s >> 3) & 15, mantissa = s & 7;
  if (s == 0x7f) return 0;
  return exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -10)
                       : std::ldexp(static_cast<float>(8 + mantissa), exponent - 11);
}

}  // namespace lissom
