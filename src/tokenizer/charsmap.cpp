#include "tokenizer/charsmap.h"

#include <array>

#include "tokenizer/unicode.h"

namespace lissom::tok {
namespace {

constexpr size_t kLongestReplacement = 1024;
constexpr std::string_view kBase64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

uint32_t load(std::string_view bytes, size_t at) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i)
    value |= static_cast<uint32_t>(static_cast<unsigned char>(bytes[at + i])) << (8 * i);
  return value;
}

// Bits of a unit: 31 marks a value, 10–30 the offset, 9 scales it by 256, 8 "a value follows", 0–7 the label.
uint32_t offset_of(uint32_t unit) {
  return (unit >> 10) << ((unit & (1U << 9)) >> 6);
}

}  // namespace

Result<Charsmap> Charsmap::parse(std::string_view bytes) {
  if (bytes.size() < 4) return bad_input("a character map of " + std::to_string(bytes.size()) + " bytes");
  const size_t trie = load(bytes, 0);
  if (trie % 4 != 0 || trie > bytes.size() - 4 || trie == 0)
    return bad_input("a character map of " + std::to_string(bytes.size()) + " bytes with a double array of " +
                     std::to_string(trie));
  Charsmap map;
  map.units_.reserve(trie / 4);
  for (size_t at = 4; at < 4 + trie; at += 4) map.units_.push_back(load(bytes, at));
  map.blob_ = bytes.substr(4 + trie);
  if (!unicode::is_valid_utf8(map.blob_)) return bad_input("the replacements of a character map are not UTF-8");
  size_t begin = 0;
  for (size_t i = 0; i <= map.blob_.size(); ++i) {
    if (i < map.blob_.size() && map.blob_[i] != '\0') continue;
    if (i - begin > kLongestReplacement)
      return bad_input("a character map with a replacement of " + std::to_string(i - begin) + " bytes");
    begin = i + 1;
  }
  return map;
}

std::optional<Charsmap::Match> Charsmap::search(std::string_view text, bool first) const {
  std::optional<Match> found;
  size_t node = offset_of(units_[0]);
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    node ^= byte;
    if (byte == 0 || node >= units_.size()) break;
    const uint32_t unit = units_[node];
    if ((unit & ((1U << 31) | 0xffU)) != byte) break;
    node ^= offset_of(unit);
    if (((unit >> 8) & 1U) == 0) continue;
    if (node >= units_.size()) break;
    const size_t at = units_[node] & 0x7fffffffU;
    // A value that points into the middle of a character is no replacement.
    if (at > blob_.size() || (at < blob_.size() && (static_cast<unsigned char>(blob_[at]) & 0xc0U) == 0x80U))
      break;
    const size_t end = std::min(blob_.find('\0', at), blob_.size());
    found = Match{i + 1, std::string_view(blob_).substr(at, end - at)};
    if (first) break;
  }
  return found;
}

std::optional<std::string> from_base64(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  std::array<int, 256> value;
  value.fill(-1);
  for (size_t i = 0; i < kBase64.size(); ++i)
    value[static_cast<unsigned char>(kBase64[i])] = static_cast<int>(i);
  std::string out;
  out.reserve(text.size() / 4 * 3);
  for (size_t i = 0; i < text.size(); i += 4) {
    const bool last = i + 4 == text.size();
    const size_t padding = last && text[i + 3] == '=' ? (text[i + 2] == '=' ? 2 : 1) : 0;
    uint32_t bits = 0;
    for (size_t k = 0; k < 4; ++k) {
      const int v = k + padding >= 4 ? 0 : value[static_cast<unsigned char>(text[i + k])];
      if (v < 0) return std::nullopt;
      bits = (bits << 6) | static_cast<uint32_t>(v);
    }
    for (size_t k = 0; k < 3 - padding; ++k) out += static_cast<char>((bits >> (16 - 8 * k)) & 0xffU);
  }
  return out;
}

std::string to_base64(std::string_view bytes) {
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t n = std::min<size_t>(3, bytes.size() - i);
    uint32_t bits = 0;
    for (size_t k = 0; k < 3; ++k) bits = (bits << 8) | (k < n ? static_cast<unsigned char>(bytes[i + k]) : 0U);
    for (size_t k = 0; k < 4; ++k) out += k <= n ? kBase64[(bits >> (18 - 6 * k)) & 63U] : '=';
  }
  return out;
}

}  // namespace lissom::tok
