// Python's str methods, over UTF-8.

#include <utf8proc.h>

#include <algorithm>

#include "tokenizer/chat/value.h"
#include "tokenizer/unicode.h"

namespace lissom::chat {
namespace {

struct Special {
  char32_t c;
  std::u32string_view upper, title;
};
constexpr Special kSpecial[] = {
#include "tokenizer/chat/case_tables.inc"
};

const Special* special(char32_t c) {
  const auto* at = std::lower_bound(std::begin(kSpecial), std::end(kSpecial), c,
                                    [](const Special& s, char32_t x) { return s.c < x; });
  return at != std::end(kSpecial) && at->c == c ? at : nullptr;
}

utf8proc_category_t category(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

bool is_cased(char32_t c) {
  if (c < 0x80) return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  const auto k = category(c);
  return k == UTF8PROC_CATEGORY_LU || k == UTF8PROC_CATEGORY_LL || k == UTF8PROC_CATEGORY_LT || c == 0xaa ||
         c == 0xba || (c >= 0x2b0 && c <= 0x2b8) || (c >= 0x2c0 && c <= 0x2c1) || (c >= 0x2e0 && c <= 0x2e4) ||
         (c >= 0x2160 && c <= 0x217f) || (c >= 0x24b6 && c <= 0x24e9);
}

bool is_case_ignorable(char32_t c) {
  constexpr std::u32string_view kMarks = U"'.:^`\u00a8\u00ad\u00af\u00b4\u00b7\u00b8\u2018\u2019\u2024\u2027";
  if (kMarks.find(c) != std::u32string_view::npos) return true;
  const auto k = category(c);
  return k == UTF8PROC_CATEGORY_MN || k == UTF8PROC_CATEGORY_ME || k == UTF8PROC_CATEGORY_CF ||
         k == UTF8PROC_CATEGORY_LM || k == UTF8PROC_CATEGORY_SK;
}

void put_upper(std::u32string& out, char32_t c) {
  if (const Special* s = special(c)) {
    out += s->upper;
  } else {
    out += static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c)));
  }
}

void put_title(std::u32string& out, char32_t c) {
  if (const Special* s = special(c)) {
    out += s->title;
  } else {
    out += static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c)));
  }
}

/// A capital sigma at the end of a word becomes the final one.
bool final_sigma(std::u32string_view text, size_t at) {
  size_t i = at;
  while (i > 0 && is_case_ignorable(text[i - 1])) --i;
  if (i == 0 || !is_cased(text[i - 1])) return false;
  size_t j = at + 1;
  while (j < text.size() && is_case_ignorable(text[j])) ++j;
  return j == text.size() || !is_cased(text[j]);
}

void put_lower(std::u32string& out, std::u32string_view text, size_t at) {
  const char32_t c = text[at];
  if (c == 0x3a3) {
    out += final_sigma(text, at) ? U'\u03c2' : U'\u03c3';
  } else if (c == 0x130) {
    out += U"i\u0307";
  } else {
    out += static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)));
  }
}

template <class Put>
std::string mapped(std::string_view text, Put put) {
  const std::u32string in = code_points(text);
  std::u32string out;
  out.reserve(in.size());
  for (size_t i = 0; i < in.size(); ++i) put(out, in, i);
  return utf8(out);
}

}  // namespace

std::u32string code_points(std::string_view text) {
  return unicode::to_code_points(text);
}

std::string utf8(std::u32string_view text) {
  return unicode::to_utf8(text);
}

bool is_space(char32_t c) {
  return (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
         c == 0x3000;
}

std::string strip(std::string_view text, bool left, bool right) {
  const char *begin = text.data(), *end = begin + text.size();
  const auto space = [](const char* p) { return is_space(unicode::decode(p)); };
  while (left && begin < end && space(begin)) begin += unicode::sequence_length(*begin);
  while (right && begin < end && space(unicode::previous(end))) end = unicode::previous(end);
  return {begin, end};
}

std::string upper(std::string_view text) {
  return mapped(text, [](std::u32string& out, std::u32string_view in, size_t i) { put_upper(out, in[i]); });
}

std::string lower(std::string_view text) {
  return mapped(text, [](std::u32string& out, std::u32string_view in, size_t i) { put_lower(out, in, i); });
}

std::string title(std::string_view text) {
  return mapped(text, [](std::u32string& out, std::u32string_view in, size_t i) {
    if (i > 0 && is_cased(in[i - 1])) {
      put_lower(out, in, i);
    } else {
      put_title(out, in[i]);
    }
  });
}

std::string capitalize(std::string_view text) {
  return mapped(text, [](std::u32string& out, std::u32string_view in, size_t i) {
    if (i > 0) {
      put_lower(out, in, i);
    } else {
      put_title(out, in[i]);
    }
  });
}

std::vector<std::string> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string> lines;
  const char* begin = text.data();
  const char* const end = begin + text.size();
  for (const char* p = begin; p < end;) {
    const char* const at = p;
    const char32_t c = unicode::decode(p);
    const bool ends =
        (c >= 10 && c <= 13) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 || c == 0x2029;
    if (!ends) continue;
    if (c == '\r' && p < end && *p == '\n') ++p;
    lines.emplace_back(begin, keep_ends ? p : at);
    begin = p;
  }
  if (begin < end) lines.emplace_back(begin, end);
  return lines;
}

Result<std::string> replace(std::string_view text, std::string_view from, std::string_view to, int64_t count,
                            Budget& budget) {
  std::string out;
  size_t done = 0;
  if (from.empty()) {  // between all characters, and at both ends
    for (size_t i = 0; count != 0; --count) {
      LISSOM_CHECK(budget.charge(to.size() + 1));
      out += to;
      if (i >= text.size()) {
        done = text.size();
        break;
      }
      const auto n = static_cast<size_t>(unicode::sequence_length(text[i]));
      out.append(text, i, n);
      done = i += n;
    }
    out.append(text, done);
    return out;
  }
  for (size_t at = text.find(from); at != std::string_view::npos && count != 0;
       at = text.find(from, done), --count) {
    LISSOM_CHECK(budget.charge(to.size() + (at - done)));
    out.append(text, done, at - done);
    out += to;
    done = at + from.size();
  }
  LISSOM_CHECK(budget.charge(text.size() - done));
  out.append(text, done);
  return out;
}

}  // namespace lissom::chat
