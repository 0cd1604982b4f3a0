// SentencePiece's normalizer and decoder.

#include <algorithm>
#include <memory>
#include <utility>

#include "tokenizer/added_tokens.h"
#include "tokenizer/byte_tokens.h"
#include "tokenizer/charsmap.h"
#include "tokenizer/sentencepiece.h"
#include "tokenizer/unicode.h"

namespace lissom::tok {
namespace {

constexpr std::string_view kSpaceMark = "\u2581";

struct Settings {
  bool add_dummy_prefix = true, remove_extra_whitespaces = true;
  std::shared_ptr<const Charsmap> map;          ///< may be null
  std::shared_ptr<const AddedMatcher> symbols;  ///< user-defined, kept as they are
};

/// What replaces the start of a text, and how long that start is.
Charsmap::Match next_of(const Settings& s, std::string_view text) {
  if (s.map) {
    if (const auto match = s.map->longest(text)) return *match;
  }
  const auto n = static_cast<size_t>(unicode::sequence_length(text[0]));
  return {n, text.substr(0, n)};
}

class Writer {
 public:
  explicit Writer(const Settings& s) : s_(s), after_space_(s.remove_extra_whitespaces) {
    if (s.add_dummy_prefix && !s.remove_extra_whitespaces) text_ = kSpaceMark;
  }

  void put(std::string_view part) {
    while (after_space_ && part.starts_with(' ')) part.remove_prefix(1);
    if (!part.empty()) {
      if (text_.empty() && s_.add_dummy_prefix) text_ += kSpaceMark;
      for (const char c : part)
        if (c == ' ') {
          text_ += kSpaceMark;
        } else {
          text_ += c;
        }
      after_space_ = part.ends_with(' ');
    }
    if (!s_.remove_extra_whitespaces) after_space_ = false;
  }
  std::string finish() {
    while (s_.remove_extra_whitespaces && text_.ends_with(kSpaceMark))
      text_.resize(text_.size() - kSpaceMark.size());
    return std::move(text_);
  }

 private:
  const Settings& s_;
  bool after_space_;
  std::string text_;
};

void normalize(const Settings& s, std::string& text) {
  if (text.empty()) return;
  Writer writer(s);
  const auto plain = [&](std::string_view part) {
    while (!part.empty()) {
      const Charsmap::Match match = next_of(s, part);
      writer.put(match.replacement);
      part.remove_prefix(match.length);
    }
  };
  if (s.symbols->empty()) {
    plain(text);
  } else {
    s.symbols->split(text,
                     [&](std::string_view part, int32_t id) { id >= 0 ? writer.put(part) : plain(part); });
  }
  text = writer.finish();
}

/// A run of byte tokens: each byte that begins no well-formed character becomes U+FFFD.
void append_characters(std::string& out, std::string_view bytes) {
  while (!bytes.empty()) {
    size_t n = 1;
    while (n <= 4 && n <= bytes.size() && !unicode::is_valid_utf8(bytes.substr(0, n))) ++n;
    if (n > 4 || n > bytes.size()) {
      out += "\xEF\xBF\xBD";
      n = 1;
    } else {
      out += bytes.substr(0, n);
    }
    bytes.remove_prefix(n);
  }
}

Result<std::vector<std::string>> strings(const Fields& fields, std::string_view field) {
  std::vector<std::string> out;
  if (fields.find(field) == nullptr) return out;
  LISSOM_TRY(const Json* list, fields.array(field));
  for (const Json& one : *list) {
    if (!one.is_string()) return fields.wrong(field, "an array of strings");
    out.push_back(one.get<std::string>());
  }
  return out;
}

}  // namespace

Result<Normalizer> make_sentencepiece_normalizer(const Fields& fields) {
  LISSOM_CHECK(
      fields.only({"precompiled_charsmap", "add_dummy_prefix", "remove_extra_whitespaces", "symbols"}));
  Settings s;
  LISSOM_TRY(s.add_dummy_prefix, fields.boolean("add_dummy_prefix", true));
  LISSOM_TRY(s.remove_extra_whitespaces, fields.boolean("remove_extra_whitespaces", true));
  if (fields.find("precompiled_charsmap") != nullptr) {
    LISSOM_TRY(const std::string encoded, fields.string("precompiled_charsmap"));
    const auto bytes = from_base64(encoded);
    if (!bytes) return fields.wrong("precompiled_charsmap", "base64");
    auto map = Charsmap::parse(*bytes);
    if (!map) return tl::unexpected(map.error().within(fields.at("precompiled_charsmap")));
    s.map = std::make_shared<const Charsmap>(*std::move(map));
  }
  LISSOM_TRY(const std::vector<std::string> symbols, strings(fields, "symbols"));
  auto matcher = std::make_shared<AddedMatcher>();
  for (const std::string& symbol : symbols) matcher->add(symbol, {}, 0);
  s.symbols = std::move(matcher);
  return [s](std::string& text) { normalize(s, text); };
}

Result<Decoder> make_sentencepiece_decoder(const Fields& fields, Decoders& all) {
  LISSOM_CHECK(fields.only({"add_dummy_prefix", "remove_extra_whitespaces", "unknown", "control"}));
  all.byte_fallback = true;
  LISSOM_TRY(const bool prefix, fields.boolean("add_dummy_prefix", true));
  LISSOM_TRY(const bool remove, fields.boolean("remove_extra_whitespaces", true));
  LISSOM_TRY(const std::string unknown, fields.string("unknown", "<unk>"));
  LISSOM_TRY(const std::vector<std::string> control, strings(fields, "control"));
  return [prefix, remove, unknown, control](std::vector<std::string>& tokens) {
    std::string out, bytes;
    bool at_start = true, seen_mark = false;
    for (const std::string& token : tokens) {
      if (const int byte = fallback_byte(token); byte >= 0) {
        bytes += static_cast<char>(byte);
        continue;
      }
      append_characters(out, bytes);
      bytes.clear();
      if (seen_mark || !out.empty()) at_start = false;
      if (std::find(control.begin(), control.end(), token) != control.end()) continue;
      if (token == unknown) {
        out += " \u2047 ";
        continue;
      }
      std::string_view rest = token;
      seen_mark = false;
      if (at_start && (prefix || remove) && rest.starts_with(kSpaceMark)) {
        rest.remove_prefix(kSpaceMark.size());
        seen_mark = !remove;
      }
      for (size_t i = 0; i < rest.size();) {
        const bool mark = rest.substr(i).starts_with(kSpaceMark);
        out += mark ? ' ' : rest[i];
        i += mark ? kSpaceMark.size() : 1;
      }
    }
    append_characters(out, bytes);
    tokens.assign(1, out);
  };
}

}  // namespace lissom::tok
