#pragma once
// Q5_K: 256 weights in 8 sub-blocks of 32, ŵ = d · s · q - dmin · m with q in 0 … 31, s and m in 0 … 63.

#include <cstdint>

namespace lissom {

struct BlockQ5K {
  uint16_t d, dmin;    ///< f16
  uint8_t scales[12];  ///< s and m, six bits each: see codec/k_scales.h
  uint8_t qh[32];      ///< bit j of byte l: fifth bit of weight l of sub-block j
  uint8_t qs[128];     ///< low four bits, as in Q4_K
};
static_assert(sizeof(BlockQ5K) == 176);

}  // namespace lissom
