#pragma once
// MXFP4: 32 weights, ŵ = 2^(e - 128) · level[q]: the OCP microscaling format with four-bit floats (E2M1, here
// doubled) and a power of two (E8M0) for each 32.

#include <bit>
#include <cstdint>

namespace lissom {

struct BlockMXFP4 {
  uint8_t e;
  uint8_t qs[16];  ///< byte j: weight j low, weight j + 16 high
};
static_assert(sizeof(BlockMXFP4) == 17);

/// Twice the value of each four-bit float.
inline constexpr int8_t kE2M1Levels[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/// 2^(e - 128), of which the first two are denormal.
inline float e8m0_half(uint8_t e) {
  return std::bit_cast<float>(e < 2 ? 0x00200000U << e : (static_cast<uint32_t>(e) - 1) << 23);
}

}  // namespace lissom
