#include <memory>
#include <utility>

#include "base/text.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/charsmap.h"
#include "tokenizer/fields.h"
#include "tokenizer/pattern.h"
#include "tokenizer/pipeline.h"
#include "tokenizer/sentencepiece.h"
#include "tokenizer/unicode.h"

namespace lissom::tok {
namespace {

using unicode::classes;

/// Rewrites a text character by character.
template <class Rewrite>
void rewrite(std::string& text, Rewrite&& each) {
  std::string out;
  out.reserve(text.size());
  for (const char *p = text.data(), *end = p + text.size(); p < end;) each(unicode::decode(p), out);
  text = std::move(out);
}

void drop(std::string& text, uint16_t bits) {
  rewrite(text, [bits](char32_t c, std::string& out) {
    if ((classes(c) & bits) == 0) unicode::append(out, c);
  });
}

void lower(std::string& text) {
  rewrite(text, [](char32_t c, std::string& out) { unicode::append_lower(out, c); });
}

void normal_form(std::string& text, bool compatible, bool compose) {
  if (unicode::is_ascii(text)) return;
  text = unicode::to_utf8(unicode::normalize(unicode::to_code_points(text), compatible, compose));
}

// ---------------------------------------------------------------- BERT

struct Bert {
  bool clean_text = true, handle_chinese_chars = true, strip_accents = true, lowercase = true;

  void operator()(std::string& text) const {
    if (unicode::is_ascii(text)) return ascii(text);
    if (clean_text || handle_chinese_chars) {
      rewrite(text, [this](char32_t c, std::string& out) {
        const uint16_t bits = classes(c);
        if (clean_text && ((bits & unicode::kBertRemoved) != 0 || c == 0xfffd)) return;
        if (clean_text && ((bits & unicode::kSpace) != 0)) {
          out += ' ';
        } else if (handle_chinese_chars && (bits & unicode::kChinese) != 0) {
          out += ' ';
          unicode::append(out, c);
          out += ' ';
        } else {
          unicode::append(out, c);
        }
      });
    }
    if (strip_accents) {
      normal_form(text, false, false);
      drop(text, unicode::kNonspacing);
    }
    if (lowercase) lower(text);
  }

 private:
  void ascii(std::string& text) const {
    size_t n = 0;
    for (const char c : text) {
      char out = c;
      if (clean_text) {
        if (c == '\t' || c == '\n' || c == '\r') {
          out = ' ';
        } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
          continue;
        }
      }
      if (lowercase && out >= 'A' && out <= 'Z') out = static_cast<char>(out + 32);
      text[n++] = out;
    }
    text.resize(n);
  }
};

Result<Normalizer> make_bert(const Fields& fields) {
  LISSOM_CHECK(fields.only({"clean_text", "handle_chinese_chars", "strip_accents", "lowercase"}));
  Bert bert;
  LISSOM_TRY(bert.clean_text, fields.boolean("clean_text", true));
  LISSOM_TRY(bert.handle_chinese_chars, fields.boolean("handle_chinese_chars", true));
  LISSOM_TRY(bert.lowercase, fields.boolean("lowercase", true));
  LISSOM_TRY(bert.strip_accents, fields.boolean("strip_accents", bert.lowercase));
  return bert;
}

// ---------------------------------------------------------------- the others

template <bool kCompatible, bool kCompose>
Result<Normalizer> make_form(const Fields& fields) {
  LISSOM_CHECK(fields.only({}));
  return [](std::string& text) { normal_form(text, kCompatible, kCompose); };
}

Result<Normalizer> make_lowercase(const Fields& fields) {
  LISSOM_CHECK(fields.only({}));
  return lower;
}

Result<Normalizer> make_strip_accents(const Fields& fields) {
  LISSOM_CHECK(fields.only({}));
  return [](std::string& text) { drop(text, unicode::kCombining); };
}

Result<Normalizer> make_strip(const Fields& fields) {
  LISSOM_CHECK(fields.only({"strip_left", "strip_right"}));
  LISSOM_TRY(const bool left, fields.boolean("strip_left", true));
  LISSOM_TRY(const bool right, fields.boolean("strip_right", true));
  return [left, right](std::string& text) {
    const auto is_space = [](const char* p) { return (classes(unicode::decode(p)) & unicode::kSpace) != 0; };
    const char *begin = text.data(), *end = begin + text.size();
    while (left && begin < end && is_space(begin)) begin += unicode::sequence_length(*begin);
    while (right && begin < end && is_space(unicode::previous(end))) end = unicode::previous(end);
    text = std::string(begin, end);
  };
}

Result<Normalizer> make_replace(const Fields& fields) {
  LISSOM_CHECK(fields.only({"pattern", "content"}));
  LISSOM_TRY(const Pattern pattern, make_pattern(fields, "pattern"));
  LISSOM_TRY(const std::string content, fields.string("content"));
  return [pattern, content](std::string& text) {
    std::string out;
    size_t done = 0;
    pattern.find_all(text, [&](size_t begin, size_t end) {
      out.append(text, done, begin - done);
      out += content;
      done = end;
    });
    out.append(text, done);
    text = std::move(out);
  };
}

Result<Normalizer> make_prepend(const Fields& fields) {
  LISSOM_CHECK(fields.only({"prepend"}));
  LISSOM_TRY(const std::string prefix, fields.string("prepend"));
  return [prefix](std::string& text) {
    if (!text.empty()) text.insert(0, prefix);
  };
}

/// SentencePiece's character map, with the steps of `tokenizers`: a grapheme cluster shorter than six bytes
/// becomes what its shortest known prefix maps to, else each character by itself.
void apply(const Charsmap& map, std::string& text) {
  std::string out;
  out.reserve(text.size());
  const std::string_view all = text;
  unicode::for_each_grapheme(all, [&](std::string_view cluster) {
    if (cluster.size() < 6) {
      if (const auto match = map.shortest(cluster)) {
        out += match->replacement;
        return;
      }
    }
    for (size_t i = 0; i < cluster.size();) {
      const auto length = static_cast<size_t>(unicode::sequence_length(cluster[i]));
      const std::string_view character = cluster.substr(i, length);
      const auto match = map.shortest(character);
      out += match ? match->replacement : character;
      i += length;
    }
  });
  text = std::move(out);
}

Result<Normalizer> make_precompiled(const Fields& fields) {
  LISSOM_CHECK(fields.only({"precompiled_charsmap"}));
  LISSOM_TRY(const std::string encoded, fields.string("precompiled_charsmap"));
  const auto bytes = from_base64(encoded);
  if (!bytes) return fields.wrong("precompiled_charsmap", "base64");
  auto map = Charsmap::parse(*bytes);
  if (!map) return tl::unexpected(map.error().within(fields.at("precompiled_charsmap")));
  return [map = std::make_shared<const Charsmap>(*std::move(map))](std::string& text) { apply(*map, text); };
}

/// Control characters go, what looks like a space becomes one: SentencePiece's nmt rules.
Result<Normalizer> make_nmt(const Fields& fields) {
  LISSOM_CHECK(fields.only({}));
  return [](std::string& text) {
    rewrite(text, [](char32_t c, std::string& out) {
      if ((c >= 1 && c <= 8) || c == 0xb || (c >= 0xe && c <= 0x1f) || c == 0x7f || c == 0x8f || c == 0x9f)
        return;
      const bool space = c == 9 || c == 0xa || c == 0xc || c == 0xd || c == 0x1680 ||
                         (c >= 0x200b && c <= 0x200f) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
                         c == 0xfeff || c == 0xfffd;
      unicode::append(out, space ? U' ' : c);
    });
  };
}

Result<Normalizer> make_byte_level(const Fields& fields) {
  LISSOM_CHECK(fields.only({}));
  return [](std::string& text) {
    std::string out;
    append_byte_characters(out, text);
    text = std::move(out);
  };
}

Result<Normalizer> make_sequence(const Fields& fields) {
  LISSOM_CHECK(fields.only({"normalizers"}));
  LISSOM_TRY(const Json* list, fields.array("normalizers"));
  std::vector<Normalizer> all;
  for (size_t i = 0; i < list->size(); ++i) {
    LISSOM_TRY(Normalizer one,
               make_normalizer((*list)[i], fields.at("normalizers") + "[" + std::to_string(i) + "]"));
    if (one) all.push_back(std::move(one));
  }
  if (all.empty()) return Normalizer{};
  return [all](std::string& text) {
    for (const Normalizer& one : all) one(text);
  };
}

struct Kind {
  std::string_view type;
  Result<Normalizer> (*make)(const Fields& fields);
};
constexpr Kind kKinds[] = {
    {"BertNormalizer", make_bert},
    {"NFC", make_form<false, true>},
    {"NFD", make_form<false, false>},
    {"NFKC", make_form<true, true>},
    {"NFKD", make_form<true, false>},
    {"Lowercase", make_lowercase},
    {"StripAccents", make_strip_accents},
    {"Strip", make_strip},
    {"Replace", make_replace},
    {"Prepend", make_prepend},
    {"Precompiled", make_precompiled},
    {"Nmt", make_nmt},
    {"SentencePiece", make_sentencepiece_normalizer},
    {"ByteLevel", make_byte_level},
    {"Sequence", make_sequence},
};

}  // namespace

Result<Normalizer> make_normalizer(const Json& json, const std::string& where) {
  if (json.is_null()) return Normalizer{};
  LISSOM_TRY(const Fields fields, fields_of(json, where));
  LISSOM_TRY(const std::string type, fields.type());
  for (const Kind& kind : kKinds)
    if (kind.type == type) return kind.make(fields);
  return unsupported(fields.at("type") + ": unknown normalizer " + in_quotes(type));
}

}  // namespace lissom::tok
