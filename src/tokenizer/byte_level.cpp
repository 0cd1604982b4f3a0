#include "tokenizer/byte_level.h"

#include "tokenizer/unicode.h"

namespace lissom::tok {
namespace {

constexpr auto kCharacters = byte_characters();
constexpr auto kBytes = [] {  // index: character below 0x144; -1: stands for no byte
  std::array<int16_t, 0x144> table{};
  table.fill(-1);
  for (size_t b = 0; b < 256; ++b) table[kCharacters[b]] = static_cast<int16_t>(b);
  return table;
}();

}  // namespace

void append_byte_characters(std::string& out, std::string_view bytes) {
  for (const char b : bytes) unicode::append(out, kCharacters[static_cast<unsigned char>(b)]);
}

void append_bytes_of(std::string& out, std::string_view token) {
  const size_t before = out.size();
  for (const char *p = token.data(), *end = p + token.size(); p < end;) {
    const char32_t c = unicode::decode(p);
    if (c >= kBytes.size() || kBytes[c] < 0) {
      out.resize(before);
      out += token;
      return;
    }
    out += static_cast<char>(kBytes[c]);
  }
}

}  // namespace lissom::tok
