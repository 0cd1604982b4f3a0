#pragma once
// The twelve bytes of Q4_K and Q5_K that hold eight six-bit scales and eight six-bit minima. Sub-blocks 0 … 3
// lie in the low six bits of bytes j (scale) and j + 4 (minimum); of sub-blocks 4 … 7 the low four bits lie in
// byte j + 4 (scale low nibble, minimum high nibble) and the high two bits on top of bytes j - 4 (scale) and j
// (minimum).

#include <cstdint>

namespace lissom {

inline void unpack_k_scales(const uint8_t* packed, int8_t* scale, int8_t* minimum) {
  for (int j = 0; j < 4; ++j) {
    scale[j] = static_cast<int8_t>(packed[j] & 63);
    minimum[j] = static_cast<int8_t>(packed[j + 4] & 63);
    scale[j + 4] = static_cast<int8_t>((packed[j + 8] & 15) | ((packed[j] >> 6) << 4));
    minimum[j + 4] = static_cast<int8_t>((packed[j + 8] >> 4) | ((packed[j + 4] >> 6) << 4));
  }
}

inline void pack_k_scales(const int8_t* scale, const int8_t* minimum, uint8_t* packed) {
  for (int j = 0; j < 4; ++j) {
    packed[j] = static_cast<uint8_t>(scale[j] | ((scale[j + 4] >> 4) << 6));
    packed[j + 4] = static_cast<uint8_t>(minimum[j] | ((minimum[j + 4] >> 4) << 6));
    packed[j + 8] = static_cast<uint8_t>((scale[j + 4] & 15) | ((minimum[j + 4] & 15) << 4));
  }
}

}  // namespace lissom
