#pragma once
// TQ1_0: 256 weights of three levels, ŵ = d · (q - 1), five to a byte: the byte is the fraction 0.q₀q₁q₂q₃q₄ in
// base 3, times 256 and rounded up. Digit k of it is the integer part of 3 · (byte · 3^k mod 256) / 256.

#include <array>
#include <cstdint>

namespace lissom {

struct BlockTQ10 {
  uint8_t qs[48];  ///< weight 32·k + l: digit k of byte l; weight 160 + 16·k + l: digit k of byte 32 + l
  uint8_t qh[4];   ///< weight 240 + 4·k + l: digit k of byte l, k < 4; the fifth digit is not used
  uint16_t d;      ///< f16
};
static_assert(sizeof(BlockTQ10) == 54);

/// The five digits of each byte. Several bytes may have the same digits.
inline constexpr std::array<std::array<uint8_t, 5>, 256> kTernaryDigits = [] {
  std::array<std::array<uint8_t, 5>, 256> table{};
  for (unsigned byte = 0; byte < 256; ++byte) {
    unsigned rest = byte;
    for (uint8_t& digit : table[byte]) {
      digit = static_cast<uint8_t>(rest * 3 >> 8);
      rest = rest * 3 & 255;
    }
  }
  return table;
}();

}  // namespace lissom
