#pragma once
// Packing of 32 five-bit codes, shared by Q5_0 and Q5_1.

#include <cstdint>
#include <cstring>

namespace lissom {

/// qs: low four bits, byte j holds codes j and j + 16. qh: bit i of the little-endian word is code i's fifth
/// bit.
inline void pack_five_bits(const uint8_t* codes, uint8_t* qh, uint8_t* qs) {
  for (int j = 0; j < 16; ++j) qs[j] = static_cast<uint8_t>((codes[j] & 15) | (codes[j + 16] << 4));
  for (int k = 0; k < 4; ++k) {
    uint64_t eight = 0;
    std::memcpy(&eight, codes + 8 * k, 8);
    // The product brings bit 0 of byte i to bit 56 + i.
    qh[k] = static_cast<uint8_t>((((eight >> 4) & 0x0101010101010101U) * 0x0102040810204080U) >> 56);
  }
}

}  // namespace lissom
