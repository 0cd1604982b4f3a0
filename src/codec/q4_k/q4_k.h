#pragma once
// Q4_K: 256 weights in 8 sub-blocks of 32, ŵ = d · s · q - dmin · m with q in 0 … 15, s and m in 0 … 63.

#include <cstdint>

namespace lissom {

struct BlockQ4K {
  uint16_t d, dmin;    ///< f16
  uint8_t scales[12];  ///< s and m, six bits each: see codec/k_scales.h
  uint8_t qs[128];     ///< byte 32·c + l: weight 64·c + l low, weight 64·c + 32 + l high
};
static_assert(sizeof(BlockQ4K) == 144);

}  // namespace lissom
