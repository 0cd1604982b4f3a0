#pragma once
// Plain floating-point types as codecs of blocks of one weight. A block's parameters are then the weight
// itself: choose() rounds it to the type, ŵ = offset, and the code is always 0. An algorithm that changes
// weights as it goes chooses a block's parameters when it reaches the block, so it works with these as with any
// other.

#include <cmath>
#include <cstdint>
#include <cstring>

#include "base/half.h"
#include "lissom/codec.h"

namespace lissom {

/// 1 sign, 4 exponent, 3 mantissa bits, bias 7, no infinity, NaN only as 0x7f and 0xff; largest 448.
[[nodiscard]] float e4m3_to_float(uint8_t bits);
[[nodiscard]] uint8_t float_to_e4m3(float value);
/// 1 sign, 5 exponent, 2 mantissa bits: the upper byte of an f16; largest 57344.
[[nodiscard]] float e5m2_to_float(uint8_t bits);
[[nodiscard]] uint8_t float_to_e5m2(float value);

}  // namespace lissom
