#pragma once
// Byte fallback: what has no token of its own is written as tokens "<0x00>" … "<0xFF>", one per byte.

#include <array>
#include <cstdint>
#include <cstdio>
#include <string_view>
#include <vector>

#include "tokenizer/vocab.h"

namespace lissom::tok {

using ByteTokens = std::array<int32_t, 256>;  ///< ids; Vocab::kAbsent where there is none

[[nodiscard]] inline ByteTokens byte_tokens(const Vocab& vocab) {
  ByteTokens ids{};
  for (size_t b = 0; b < ids.size(); ++b) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", static_cast<unsigned>(b));
    ids[b] = vocab.find(name);
  }
  return ids;
}

/// False, and nothing appended, where a byte has no token.
[[nodiscard]] inline bool append_byte_tokens(const ByteTokens& tokens, std::string_view bytes,
                                             std::vector<int32_t>& ids) {
  for (const char b : bytes)
    if (tokens[static_cast<unsigned char>(b)] == Vocab::kAbsent) return false;
  for (const char b : bytes) ids.push_back(tokens[static_cast<unsigned char>(b)]);
  return true;
}

/// The byte of a token "<0x0A>", or -1.
[[nodiscard]] inline int fallback_byte(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
  int byte = 0;
  for (const char c : token.substr(3, 2)) {
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                             : -1;
    if (digit < 0) return -1;
    byte = byte * 16 + digit;
  }
  return byte;
}

}  // namespace lissom::tok
