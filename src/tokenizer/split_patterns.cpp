#include "tokenizer/split_patterns.h"

#include <array>

#include "tokenizer/unicode.h"

namespace lissom::tok {
namespace {

using unicode::ClassTable;

/// What the patterns tell apart.
enum Kind : uint8_t { kOther, kLetter, kNumber, kSpace, kNewline };  // kNewline: \r and \n, which are space too

constexpr std::array<uint8_t, 128> kAscii = [] {
  std::array<uint8_t, 128> kinds{};
  for (size_t c = 0; c < 128; ++c) {
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) kinds[c] = kLetter;
    if (c >= '0' && c <= '9') kinds[c] = kNumber;
    if (c == ' ' || c == '\t' || c == '\v' || c == '\f') kinds[c] = kSpace;
    if (c == '\r' || c == '\n') kinds[c] = kNewline;
  }
  return kinds;
}();

/// Walks the text one code point at a time.
struct Cursor {
  const char* p;
  const char* end;
  const ClassTable& table;

  [[nodiscard]] bool done(const char* at) const { return at >= end; }
  /// Kind of the code point at `at`, which is advanced past it.
  Kind next(const char*& at) const {
    if (const auto b = static_cast<unsigned char>(*at); b < 0x80) {
      ++at;
      return static_cast<Kind>(kAscii[b]);
    }
    const uint16_t bits = table(unicode::decode(at));
    if ((bits & unicode::kLetter) != 0) return kLetter;
    if ((bits & unicode::kNumber) != 0) return kNumber;
    return (bits & unicode::kSpace) != 0 ? kSpace : kOther;
  }
  /// End of the run of `kind` that starts at `at`, at most `limit` code points long.
  const char* run(const char* at, Kind kind, int64_t limit = INT64_MAX) const {
    for (; at < end && limit > 0; --limit) {
      const char* after = at;
      if (next(after) != kind) break;
      at = after;
    }
    return at;
  }
};

bool is_space(Kind kind) {
  return kind >= kSpace;
}

/// A run of white space at `at`: all of it at the end of the text, else all but its last character, which goes
/// with what follows; a run of one stays. `\s+(?!\S)|\s+`.
const char* space_run(const Cursor& c, const char* at) {
  const char* last = at;  // start of the run's last character
  const char* e = at;
  while (!c.done(e)) {
    const char* after = e;
    if (!is_space(c.next(after))) break;
    last = e;
    e = after;
  }
  return c.done(e) || last == at ? e : last;
}

/// 's 't 're 've 'm 'll 'd behind an apostrophe; the end of it, or null. With `fold`, upper case too, and
/// U+017F, which folds to s.
const char* contraction(const Cursor& c, bool fold) {
  const auto lower = [&](const char* at) -> char {
    if (at >= c.end) return 0;
    return fold && *at >= 'A' && *at <= 'Z' ? static_cast<char>(*at + 32) : *at;
  };
  const char* const q = c.p + 1;
  const char a = lower(q);
  if (a == 's' || a == 't' || a == 'm' || a == 'd') return q + 1;
  const char b = a == 0 ? '\0' : lower(q + 1);
  if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return q + 2;
  if (fold && c.end - q >= 2 && q[0] == '\xC5' && q[1] == '\xBF') return q + 2;
  return nullptr;
}

const char* gpt2_match(const Cursor& c) {
  if (*c.p == '\'')
    if (const char* e = contraction(c, false)) return e;
  const char* after = c.p;
  const Kind first = c.next(after);
  if (!is_space(first)) return c.run(after, first);
  if (*c.p == ' ' && !c.done(after)) {
    const char* second = after;
    if (const Kind kind = c.next(second); !is_space(kind)) return c.run(second, kind);
  }
  return space_run(c, c.p);
}

/// (?i:contraction)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,digits}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
const char* llama3_match(const Cursor& c, int digits) {
  if (*c.p == '\'')
    if (const char* e = contraction(c, true)) return e;
  const char* after = c.p;
  const Kind first = c.next(after);
  if (first == kLetter) return c.run(after, kLetter);
  if (first == kNumber) return c.run(after, kNumber, digits - 1);
  const char* second = after;
  const bool more = !c.done(after);
  const Kind kind = more ? c.next(second) : kSpace;
  if (more && kind == kLetter && first != kNewline) return c.run(second, kLetter);
  if (first == kOther || (*c.p == ' ' && more && kind == kOther))
    return c.run(c.run(first == kOther ? after : second, kOther), kNewline);
  // White space: through the last line break of the run, if it has one.
  const char* newline = nullptr;
  for (const char* e = c.p; !c.done(e);) {
    const Kind k = c.next(e);
    if (!is_space(k)) break;
    if (k == kNewline) newline = e;
  }
  return newline != nullptr ? newline : space_run(c, c.p);
}

template <class Match>
void split_by(std::string_view text, FunctionRef<void(std::string_view)> piece, Match match) {
  Cursor c{text.data(), text.data() + text.size(), unicode::class_table()};
  while (!c.done(c.p)) {
    const char* e = match(c);
    piece(std::string_view(c.p, static_cast<size_t>(e - c.p)));
    c.p = e;
  }
}

void split_llama3(std::string_view text, FunctionRef<void(std::string_view)> piece) {
  split_by(text, piece, [](const Cursor& c) { return llama3_match(c, 3); });
}

void split_qwen2(std::string_view text, FunctionRef<void(std::string_view)> piece) {
  split_by(text, piece, [](const Cursor& c) { return llama3_match(c, 1); });
}

}  // namespace

void split_gpt2(std::string_view text, FunctionRef<void(std::string_view)> piece) {
  split_by(text, piece, [](const Cursor& c) { return gpt2_match(c); });
}

const KnownPattern kGpt2{
    "gpt-2", R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)", split_gpt2};
const KnownPattern kLlama3{
    "llama-bpe",
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
    split_llama3};
const KnownPattern kQwen2{
    "qwen2",
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
    split_qwen2};

Splitter find_splitter(std::string_view pattern) {
  for (const KnownPattern* known : {&kGpt2, &kLlama3, &kQwen2})
    if (pattern == known->pattern) return known->split;
  return nullptr;
}

}  // namespace lissom::tok
