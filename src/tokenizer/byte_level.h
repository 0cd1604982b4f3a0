#pragma once
// GPT-2's mapping between bytes and printable characters: printable Latin-1 stands for itself, the other 68
// bytes for U+0100 and on.

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace lissom::tok {

/// The character that stands for a byte.
[[nodiscard]] constexpr std::array<char32_t, 256> byte_characters() {
  std::array<char32_t, 256> table{};
  char32_t next = 0x100;
  for (char32_t b = 0; b < 256; ++b) {
    const bool printable = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
    table[b] = printable ? b : next++;
  }
  return table;
}

void append_byte_characters(std::string& out, std::string_view bytes);
/// Appends the bytes that a token stands for; the token's own bytes if a character of it stands for none.
void append_bytes_of(std::string& out, std::string_view token);

}  // namespace lissom::tok
