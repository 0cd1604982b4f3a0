#pragma once
// Conversions between F32 and the 16-bit float formats, exact in one direction and rounding to nearest even in
// the other. For single values; arrays go through the codecs, which vectorise.

#include <bit>
#include <cstdint>

namespace lissom {

[[nodiscard]] inline float bf16_to_float(uint16_t h) {
  return std::bit_cast<float>(static_cast<uint32_t>(h) << 16);
}

[[nodiscard]] inline uint16_t float_to_bf16(float f) {
  const auto u = std::bit_cast<uint32_t>(f);
  if ((u & 0x7fffffffU) > 0x7f800000U)
    return static_cast<uint16_t>((u >> 16) | 64U);  // NaN stays NaN, made quiet
  return static_cast<uint16_t>((u + (0x7fffU + ((u >> 16) & 1U))) >> 16);
}

[[nodiscard]] inline float half_to_float(uint16_t h) {
  // Shift the half's exponent and mantissa into place and let one multiplication rebias them: denormals come
  // out right because the product is exact.
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000U) << 16;
  const uint32_t magnitude = static_cast<uint32_t>(h & 0x7fffU) << 13;
  if ((h & 0x7c00U) == 0x7c00U) return std::bit_cast<float>(sign | magnitude | 0x7f800000U);
  const float scaled = std::bit_cast<float>(magnitude) * std::bit_cast<float>(0x77800000U);  // × 2^112
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(scaled));
}

[[nodiscard]] inline uint16_t float_to_half(float f) {
  const auto u = std::bit_cast<uint32_t>(f);
  const auto sign = static_cast<uint16_t>((u >> 16) & 0x8000U);
  const uint32_t a = u & 0x7fffffffU;
  if (a > 0x7f800000U) return static_cast<uint16_t>(sign | 0x7e00U);
  if (a >= 0x477ff000U) return static_cast<uint16_t>(sign | 0x7c00U);  // rounds to 65536 or more
  if (a < 0x38800000U) {                                               // below 2^-14: denormal result
    // Adding 0.5 aligns the mantissa so that the addition itself rounds to a multiple of 2^-24.
    const float aligned = std::bit_cast<float>(a) + 0.5F;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(aligned) - 0x3f000000U));
  }
  const uint32_t rounded = a + 0xfffU + ((a >> 13) & 1U);
  return static_cast<uint16_t>(sign | ((rounded - 0x38000000U) >> 13));
}

}  // namespace lissom
