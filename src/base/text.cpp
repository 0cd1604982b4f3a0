#include "base/text.h"

#include <cstddef>
#include <cstdint>

namespace lissom {
namespace {

/// Length of the well-formed sequence at the start of `s`, or 0. Unicode 15, table 3-7.
size_t sequence_length(std::string_view s) {
  const auto at = [&](size_t i) { return i < s.size() ? static_cast<uint8_t>(s[i]) : uint8_t{0}; };
  const auto tail = [&](size_t i) { return (at(i) & 0xc0U) == 0x80U; };
  const uint8_t a = at(0), b = at(1);
  if (a < 0x80U) return 1;
  if (a < 0xc2U) return 0;
  if (a < 0xe0U) return tail(1) ? 2 : 0;
  if (a < 0xf0U) {
    if ((a == 0xe0U && b < 0xa0U) || (a == 0xedU && b > 0x9fU)) return 0;
    return tail(1) && tail(2) ? 3 : 0;
  }
  if (a > 0xf4U || (a == 0xf0U && b < 0x90U) || (a == 0xf4U && b > 0x8fU)) return 0;
  return tail(1) && tail(2) && tail(3) ? 4 : 0;
}

}  // namespace

bool valid_utf8(std::string_view text) {
  while (!text.empty()) {
    const size_t n = sequence_length(text);
    if (n == 0) return false;
    text.remove_prefix(n);
  }
  return true;
}

std::string printable(std::string_view text, size_t limit) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  while (!text.empty() && out.size() < limit) {
    const size_t n = sequence_length(text);
    const auto c = static_cast<uint8_t>(text[0]);
    // U+0080 … U+009F are control characters too.
    const bool control =
        c < 0x20U || c == 0x7fU || (n == 2 && c == 0xc2U && static_cast<uint8_t>(text[1]) < 0xa0U);
    if (n == 0 || control) {
      out += {'\\', 'x', kHex[c >> 4U], kHex[c & 15U]};
      text.remove_prefix(1);
    } else {
      out += text.substr(0, n);
      text.remove_prefix(n);
    }
  }
  return text.empty() ? out : out + "…";
}

std::string in_quotes(std::string_view text) {
  std::string out = "'";
  out += printable(text, 100);
  out += '\'';
  return out;
}

}  // namespace lissom
