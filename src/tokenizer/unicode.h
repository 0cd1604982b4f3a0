#pragma once
// Unicode as the `tokenizers` package knows it. Its parts follow different versions of Unicode (regular
// expressions 16, Rust's standard library newer still, categories 8, normalization 9), so every question that
// tokenization asks has its own answer here; unicode_tables.inc holds what differs from Oniguruma's and
// utf8proc's tables.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/function_ref.h"

namespace lissom::unicode {

/// Classes of a code point, as bits.
enum Class : uint16_t {
  kLetter = 1,        ///< \p{L} of the regular expressions
  kNumber = 2,        ///< \p{N}
  kSpace = 4,         ///< \s, char::is_whitespace: White_Space
  kMark = 8,          ///< \p{M}
  kNumeric = 16,      ///< Digits: char::is_numeric
  kPunctuation = 32,  ///< BertPreTokenizer, Punctuation
  kBertRemoved = 64,  ///< BertNormalizer's clean_text drops it
  kNonspacing = 128,  ///< BertNormalizer's strip_accents drops it
  kCombining = 256,   ///< StripAccents drops it
  kChinese = 512,     ///< BertNormalizer's handle_chinese_chars puts spaces around it
  kWord = 1024,       ///< \w of Rust's regex: Whitespace, single_word
};

/// Two levels: pages of 256 code points, equal pages shared.
struct ClassTable {
  std::vector<uint16_t> page_of;  ///< 0x1100 entries
  std::vector<uint16_t> pages;    ///< 256 per page
  [[nodiscard]] uint16_t operator()(char32_t c) const {
    return pages[static_cast<size_t>(page_of[c >> 8]) * 256 + (c & 255U)];
  }
};
/// Built at first use; `c` of its calls must be below 0x110000.
[[nodiscard]] const ClassTable& class_table();
[[nodiscard]] inline uint16_t classes(char32_t c) {
  return class_table()(c);
}

/// First and last of each range of code points with this general category ("Lu") or group ("L"); empty if
/// unknown.
[[nodiscard]] std::vector<std::pair<char32_t, char32_t>> category_ranges(std::string_view category);

/// The code point at p, which points into well-formed UTF-8; advances p past it.
[[nodiscard]] inline char32_t decode(const char*& p) {
  const auto b0 = static_cast<unsigned char>(*p++);
  if (b0 < 0x80) return b0;
  const auto next = [&p] { return static_cast<char32_t>(static_cast<unsigned char>(*p++) & 0x3fU); };
  if (b0 < 0xe0) return (static_cast<char32_t>(b0 & 0x1fU) << 6) | next();
  if (b0 < 0xf0) {
    const char32_t b1 = next();
    return (static_cast<char32_t>(b0 & 0x0fU) << 12) | (b1 << 6) | next();
  }
  const char32_t b1 = next(), b2 = next();
  return (static_cast<char32_t>(b0 & 0x07U) << 18) | (b1 << 12) | (b2 << 6) | next();
}
/// Bytes of the well-formed sequence that starts with this byte.
[[nodiscard]] inline int sequence_length(char first) {
  const auto b = static_cast<unsigned char>(first);
  return b < 0x80 ? 1 : b < 0xe0 ? 2 : b < 0xf0 ? 3 : 4;
}
/// The start of the code point that ends before `p`.
[[nodiscard]] inline const char* previous(const char* p) {
  do --p;
  while ((static_cast<unsigned char>(*p) & 0xc0U) == 0x80U);
  return p;
}
void append(std::string& out, char32_t c);
[[nodiscard]] bool is_ascii(std::string_view text);

[[nodiscard]] bool is_valid_utf8(std::string_view text);
/// Each maximal ill-formed subsequence (Unicode 15, §3.9) becomes one U+FFFD.
[[nodiscard]] std::string replace_invalid(std::string_view text);

[[nodiscard]] std::u32string to_code_points(std::string_view utf8);
[[nodiscard]] std::string to_utf8(std::u32string_view text);

/// Calls cluster(text) for each extended grapheme cluster (Unicode Standard Annex 29) of well-formed UTF-8.
void for_each_grapheme(std::string_view text, tok::FunctionRef<void(std::string_view)> cluster);

/// Lower case of each character by itself, as char::to_lowercase.
void append_lower(std::string& out, char32_t c);
/// Canonical or compatibility decomposition with canonical ordering; with `compose`, composed again.
[[nodiscard]] std::u32string normalize(std::u32string_view text, bool compatible, bool compose);

}  // namespace lissom::unicode
