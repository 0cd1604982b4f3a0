#pragma once
// Bits to bytes.

#include <cstdint>

namespace lissom {

inline constexpr uint64_t kByteOnes = 0x0101010101010101U;

/// Bit k of `bits` as byte k, 0 or 1.
inline uint64_t bytes_of_bits(uint8_t bits) {
  // Bit k alone in byte k, where a carry then takes it to the byte's highest place.
  const uint64_t alone = bits * kByteOnes & 0x8040201008040201U;
  return (alone + 0x7f * kByteOnes) >> 7 & kByteOnes;
}

}  // namespace lissom
