#include "tokenizer/unicode.h"

#include <oniguruma.h>
#include <utf8proc.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <span>
#include <unordered_map>

namespace lissom::unicode {
namespace {

#include "tokenizer/unicode_tables.inc"

constexpr char32_t kCodes = 0x110000;

bool contains(std::span<const char32_t> sorted, char32_t c) {
  return std::binary_search(sorted.begin(), sorted.end(), c);
}

bool is_newer(char32_t c) {
  const auto* const it = std::upper_bound(std::begin(kNewer), std::end(kNewer), c,
                                          [](char32_t a, const Range& r) { return a < r.first; });
  return it != std::begin(kNewer) && c <= std::prev(it)->last;
}

/// Oniguruma's own ranges for a property (general category) or for \s.
std::vector<std::pair<char32_t, char32_t>> oniguruma_ranges(std::string_view name) {
  OnigEncodingType* utf8 = &OnigEncodingUTF8;
  std::string copy(name);
  auto* begin = reinterpret_cast<OnigUChar*>(copy.data());
  const int type = utf8->property_name_to_ctype(utf8, begin, begin + copy.size());
  std::vector<std::pair<char32_t, char32_t>> out;
  if (type < 0) return out;
  OnigCodePoint single_byte_end = 0;
  const OnigCodePoint* ranges = nullptr;
  if (utf8->get_ctype_code_range(static_cast<OnigCtype>(type), &single_byte_end, &ranges) != 0) return out;
  for (OnigCodePoint i = 0; i < ranges[0]; ++i) out.emplace_back(ranges[1 + 2 * i], ranges[2 + 2 * i]);
  return out;
}

void set(std::vector<uint16_t>& flat, char32_t first, char32_t last, uint16_t bit) {
  for (char32_t c = first; c <= last && c < kCodes; ++c) flat[c] = static_cast<uint16_t>(flat[c] | bit);
}

void set(std::vector<uint16_t>& flat, std::span<const Range> ranges, uint16_t bit) {
  for (const Range& r : ranges) set(flat, r.first, r.last, bit);
}

std::vector<uint16_t> flat_classes() {
  std::vector<uint16_t> flat(kCodes, 0);
  const std::pair<const char*, uint16_t> categories[] = {
      {"L", kLetter}, {"N", static_cast<uint16_t>(kNumber | kNumeric)}, {"M", kMark}};
  for (const auto& [name, bits] : categories)
    for (const auto& [first, last] : category_ranges(name)) set(flat, first, last, bits);
  for (const auto& [first, last] : oniguruma_ranges("Space")) set(flat, first, last, kSpace);
  set(flat, kMoreNumeric, kNumeric);
  set(flat, kPunctuation, Class::kPunctuation);
  set(flat, kBertRemoved, Class::kBertRemoved);
  set(flat, kNonspacing, Class::kNonspacing);
  set(flat, kCombining, Class::kCombining);
  set(flat, kChinese, Class::kChinese);
  set(flat, kWord, Class::kWord);
  return flat;
}

ClassTable build() {
  const std::vector<uint16_t> flat = flat_classes();
  ClassTable table;
  table.page_of.resize(kCodes >> 8);
  std::map<std::string_view, uint16_t> known;  // keys view `flat`
  for (size_t page = 0; page < table.page_of.size(); ++page) {
    const std::string_view bytes(reinterpret_cast<const char*>(&flat[page * 256]), 512);
    const auto [it, fresh] = known.emplace(bytes, static_cast<uint16_t>(known.size()));
    if (fresh) table.pages.insert(table.pages.end(), &flat[page * 256], &flat[page * 256] + 256);
    table.page_of[page] = it->second;
  }
  return table;
}

}  // namespace

const ClassTable& class_table() {
  static const ClassTable table = build();
  return table;
}

std::vector<std::pair<char32_t, char32_t>> category_ranges(std::string_view category) {
  std::vector<bool> member(kCodes, false);
  const auto base = oniguruma_ranges(category);
  if (base.empty()) return {};
  for (const auto& [first, last] : base)
    for (char32_t c = first; c <= last && c < kCodes; ++c) member[c] = true;
  for (const CategoryRange& r : kCategoryChanges) {
    const std::string_view now = r.category;
    const bool in = category == "Word"
                        ? now[0] == 'L' || now[0] == 'M' || now == "Nd" || now == "Nl" || now == "Pc"
                        : now.starts_with(category);
    for (char32_t c = r.first; c <= r.last; ++c) member[c] = in;
  }
  std::vector<std::pair<char32_t, char32_t>> out;
  for (char32_t c = 0; c < kCodes; ++c) {
    if (!member[c]) continue;
    if (!out.empty() && out.back().second + 1 == c) {
      out.back().second = c;
    } else {
      out.emplace_back(c, c);
    }
  }
  return out;
}

void append(std::string& out, char32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += {static_cast<char>(0xc0 | (c >> 6)), static_cast<char>(0x80 | (c & 63))};
  } else if (c < 0x10000) {
    out += {static_cast<char>(0xe0 | (c >> 12)), static_cast<char>(0x80 | ((c >> 6) & 63)),
            static_cast<char>(0x80 | (c & 63))};
  } else {
    out += {static_cast<char>(0xf0 | (c >> 18)), static_cast<char>(0x80 | ((c >> 12) & 63)),
            static_cast<char>(0x80 | ((c >> 6) & 63)), static_cast<char>(0x80 | (c & 63))};
  }
}

bool is_ascii(std::string_view text) {
  size_t i = 0;
  for (; i + 8 <= text.size(); i += 8) {
    uint64_t word = 0;
    std::memcpy(&word, text.data() + i, 8);
    if ((word & 0x8080808080808080U) != 0) return false;
  }
  for (; i < text.size(); ++i)
    if ((static_cast<unsigned char>(text[i]) & 0x80U) != 0) return false;
  return true;
}

namespace {

/// Length of the well-formed sequence at text[i], or minus the length of the maximal ill-formed subsequence.
int sequence_at(std::string_view text, size_t i) {
  const auto byte = [&](size_t k) { return static_cast<unsigned char>(text[k]); };
  const unsigned char b0 = byte(i);
  if (b0 < 0x80) return 1;
  if (b0 < 0xc2 || b0 > 0xf4) return -1;
  const int length = b0 < 0xe0 ? 2 : b0 < 0xf0 ? 3 : 4;
  const unsigned char low = b0 == 0xe0 ? 0xa0 : b0 == 0xf0 ? 0x90 : 0x80;  // no overlong forms
  const unsigned char high = b0 == 0xed   ? 0x9f
                             : b0 == 0xf4 ? 0x8f
                                          : 0xbf;  // no surrogates, nothing past 10FFFF
  for (int k = 1; k < length; ++k) {
    if (i + static_cast<size_t>(k) >= text.size()) return -k;
    const unsigned char b = byte(i + static_cast<size_t>(k));
    if (k == 1 ? (b < low || b > high) : (b < 0x80 || b > 0xbf)) return -k;
  }
  return length;
}

}  // namespace

bool is_valid_utf8(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    if (i + 8 <= text.size()) {
      uint64_t word = 0;
      std::memcpy(&word, text.data() + i, 8);
      if ((word & 0x8080808080808080U) == 0) {
        i += 8;
        continue;
      }
    }
    const int length = sequence_at(text, i);
    if (length < 0) return false;
    i += static_cast<size_t>(length);
  }
  return true;
}

std::string replace_invalid(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const int length = sequence_at(text, i);
    if (length > 0) {
      out.append(text, i, static_cast<size_t>(length));
    } else {
      out += "\xEF\xBF\xBD";
    }
    i += static_cast<size_t>(length > 0 ? length : -length);
  }
  return out;
}

std::u32string to_code_points(std::string_view utf8) {
  std::u32string out;
  out.reserve(utf8.size());
  for (const char *p = utf8.data(), *end = p + utf8.size(); p < end;) out += decode(p);
  return out;
}

std::string to_utf8(std::u32string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char32_t c : text) append(out, c);
  return out;
}

void append_lower(std::string& out, char32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
    return;
  }
  if (c == 0x130) {  // the one character whose lower case is two: i and a dot above
    out += "i\xCC\x87";
    return;
  }
  const auto* const end = std::end(kLower);
  const auto* const it =
      std::lower_bound(std::begin(kLower), end, c, [](const LowerCase& a, char32_t b) { return a.code < b; });
  append(out, it != end && it->code == c
                  ? it->lower
                  : static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
}

namespace {

uint8_t combining_class(char32_t c) {
  if (c < 0x300 || contains(kStarters, c) || is_newer(c)) return 0;
  return static_cast<uint8_t>(utf8proc_get_property(static_cast<utf8proc_int32_t>(c))->combining_class);
}

void decompose(char32_t c, bool compatible, std::u32string& out) {
  if (c < 0xa0 || is_newer(c) || contains(kNoCanonical, c) || (compatible && contains(kNoCompatible, c))) {
    out += c;
    return;
  }
  utf8proc_int32_t buffer[32];
  int boundary = 0;
  const auto options =
      static_cast<utf8proc_option_t>(compatible ? UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT : UTF8PROC_DECOMPOSE);
  const auto n = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), buffer, 32, options, &boundary);
  if (n <= 0 || n > 32) {
    out += c;
    return;
  }
  for (utf8proc_ssize_t i = 0; i < n; ++i) out += static_cast<char32_t>(buffer[i]);
}

/// Stable sort of each run of non-starters by combining class.
void reorder(std::u32string& text) {
  std::vector<std::pair<uint8_t, char32_t>> run;
  for (size_t i = 0; i < text.size();) {
    if (combining_class(text[i]) == 0) {
      ++i;
      continue;
    }
    const size_t first = i;
    run.clear();
    for (; i < text.size(); ++i) {
      const uint8_t k = combining_class(text[i]);
      if (k == 0) break;
      run.emplace_back(k, text[i]);
    }
    std::stable_sort(run.begin(), run.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    for (size_t k = 0; k < run.size(); ++k) text[first + k] = run[k].second;
  }
}

/// Primary composites: (first << 32 | second) → composite.
const std::unordered_map<uint64_t, char32_t>& composites() {
  static const auto table = [] {
    std::unordered_map<uint64_t, char32_t> map;
    for (char32_t c = 0xa0; c < 0x30000; ++c) {
      if ((c >= 0xac00 && c < 0xe000) || contains(kNoCanonical, c) || is_newer(c))
        continue;  // Hangul by arithmetic
      const utf8proc_property_t* p = utf8proc_get_property(static_cast<utf8proc_int32_t>(c));
      if (p->decomp_seqindex == UINT16_MAX || p->decomp_type != 0 || p->comp_exclusion) continue;
      // The full decomposition of all but the last character composes back to the first of the pair.
      utf8proc_int32_t full[8];
      int boundary = 0;
      const auto n =
          utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), full, 8, UTF8PROC_DECOMPOSE, &boundary);
      if (n < 2 || n > 8) continue;
      const auto last = static_cast<char32_t>(full[n - 1]);
      const auto m = utf8proc_normalize_utf32(full, n - 1, UTF8PROC_COMPOSE);
      if (m != 1) continue;
      map.emplace((static_cast<uint64_t>(static_cast<uint32_t>(full[0])) << 32) | last, c);
    }
    return map;
  }();
  return table;
}

char32_t compose_pair(char32_t a, char32_t b) {
  if (a >= 0x1100 && a < 0x1113 && b >= 0x1161 && b < 0x1176)
    return 0xac00 + ((a - 0x1100) * 21 + (b - 0x1161)) * 28;
  if (a >= 0xac00 && a < 0xd7a4 && (a - 0xac00) % 28 == 0 && b > 0x11a7 && b < 0x11c3) return a + (b - 0x11a7);
  const auto it = composites().find((static_cast<uint64_t>(a) << 32) | b);
  return it == composites().end() ? 0 : it->second;
}

std::u32string compose_all(const std::u32string& text) {
  std::u32string out;
  out.reserve(text.size());
  size_t starter = SIZE_MAX;
  uint8_t last = 0;  // class of the last character kept after the starter
  for (const char32_t c : text) {
    const uint8_t k = combining_class(c);
    if (starter != SIZE_MAX && (out.size() == starter + 1 || last < k)) {
      if (const char32_t joined = compose_pair(out[starter], c); joined != 0) {
        out[starter] = joined;
        continue;
      }
    }
    if (k == 0) starter = out.size();
    last = k;
    out += c;
  }
  return out;
}

}  // namespace

std::u32string normalize(std::u32string_view text, bool compatible, bool compose) {
  std::u32string out;
  out.reserve(text.size());
  for (const char32_t c : text) decompose(c, compatible, out);
  reorder(out);
  return compose ? compose_all(out) : out;
}

void for_each_grapheme(std::string_view text, tok::FunctionRef<void(std::string_view)> cluster) {
  const char* const end = text.data() + text.size();
  const char* begin = text.data();
  utf8proc_int32_t state = 0;
  char32_t before = 0;
  for (const char* p = begin; p < end;) {
    const char* const at = p;
    const char32_t c = decode(p);
    // Between two printable ASCII characters there is always a break.
    const bool plain = before >= 0x20 && before < 0x7f && c >= 0x20 && c < 0x7f;
    if (at > begin && (plain || utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(before),
                                                                 static_cast<utf8proc_int32_t>(c), &state))) {
      cluster(std::string_view(begin, static_cast<size_t>(at - begin)));
      begin = at;
      if (plain) state = 0;
    }
    before = c;
  }
  if (begin < end) cluster(std::string_view(begin, static_cast<size_t>(end - begin)));
}

}  // namespace lissom::unicode
