#include <utility>

#include "base/text.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/fields.h"
#include "tokenizer/metaspace.h"
#include "tokenizer/pattern.h"
#include "tokenizer/pipeline.h"
#include "tokenizer/unicode.h"

namespace lissom::tok {
namespace {

// ---------------------------------------------------------------- what becomes of the matches

enum class Behavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

Result<Behavior> behavior_field(const Fields& fields, Behavior fallback) {
  if (fields.find("behavior") == nullptr) return fallback;
  LISSOM_TRY(const std::string name, fields.string("behavior"));
  constexpr std::pair<std::string_view, Behavior> kNames[] = {
      {"Removed", Behavior::removed},
      {"Isolated", Behavior::isolated},
      {"MergedWithPrevious", Behavior::merged_with_previous},
      {"MergedWithNext", Behavior::merged_with_next},
      {"Contiguous", Behavior::contiguous}};
  for (const auto& [known, behavior] : kNames)
    if (known == name) return behavior;
  return unsupported(fields.at("behavior") + ": unknown behavior " + in_quotes(name));
}

/// Joins the stretches of a text, which come in order and cover it, into pieces. Merging needs to know only
/// whether the stretch before was a match.
class Joiner {
 public:
  Joiner(std::string_view text, Behavior behavior, PieceSink piece)
      : text_(text), behavior_(behavior), piece_(piece) {}

  void add(size_t begin, size_t end, bool match) {
    bool join = false;
    switch (behavior_) {
      case Behavior::removed:
        if (!match) piece_(text_.substr(begin, end - begin));
        return;
      case Behavior::isolated:
        piece_(text_.substr(begin, end - begin));
        return;
      case Behavior::contiguous:
        join = match == previous_;
        break;
      case Behavior::merged_with_previous:
        join = match && !previous_;
        break;
      case Behavior::merged_with_next:
        // A match waits for the stretch behind it, unless that is a match too.
        join = !match && previous_;
        break;
    }
    previous_ = match;
    if (join && open_) {
      end_ = end;
      return;
    }
    finish();
    begin_ = begin;
    end_ = end;
    open_ = true;
  }
  void finish() {
    if (open_) piece_(text_.substr(begin_, end_ - begin_));
    open_ = false;
  }

 private:
  std::string_view text_;
  Behavior behavior_;
  PieceSink piece_;
  size_t begin_ = 0, end_ = 0;
  bool open_ = false, previous_ = false;
};

/// Pre-tokenizer from a test of single characters.
template <class IsMatch>
PreTokenizer by_character(Behavior behavior, IsMatch is_match) {
  return [behavior, is_match](std::string_view text, PieceSink piece) {
    Joiner joiner(text, behavior, piece);
    const char* const base = text.data();
    const char* const end = base + text.size();
    const char* gap = base;  // start of the stretch that does not match
    for (const char* p = base; p < end;) {
      const char* const at = p;
      if (!is_match(unicode::decode(p))) continue;
      if (gap < at) joiner.add(static_cast<size_t>(gap - base), static_cast<size_t>(at - base), false);
      joiner.add(static_cast<size_t>(at - base), static_cast<size_t>(p - base), true);
      gap = p;
    }
    if (gap < end) joiner.add(static_cast<size_t>(gap - base), text.size(), false);
    joiner.finish();
  };
}

PreTokenizer by_class(Behavior behavior, uint16_t bits) {
  return by_character(behavior,
                      [&table = unicode::class_table(), bits](char32_t c) { return (table(c) & bits) != 0; });
}

// ---------------------------------------------------------------- the kinds

/// What building a chain of stages has come to.
struct Chain {
  PreTokenizers result;
  bool maps_bytes = false;  ///< a final ByteLevel's mapping is left to the model
};

Result<void> add_stages(const Json& json, const std::string& where, bool last, Chain& chain);

Result<void> make_byte_level(const Fields& fields, bool last, Chain& chain) {
  LISSOM_CHECK(fields.only({"add_prefix_space", "trim_offsets", "use_regex"}));
  LISSOM_TRY(const bool prefix_space, fields.boolean("add_prefix_space", true));
  LISSOM_TRY([[maybe_unused]] const bool trim, fields.boolean("trim_offsets", true));
  LISSOM_TRY(const bool use_regex, fields.boolean("use_regex", true));
  if (prefix_space)
    chain.result.stages.emplace_back([](std::string_view text, PieceSink piece) {
      if (text.starts_with(' ')) return piece(text);
      std::string spaced = " ";
      spaced += text;
      piece(spaced);
    });
  if (use_regex) chain.result.stages.emplace_back(split_gpt2);
  if (last && chain.maps_bytes) {
    chain.result.byte_level = true;
    return {};
  }
  chain.result.stages.emplace_back([](std::string_view text, PieceSink piece) {
    std::string printable;
    append_byte_characters(printable, text);
    piece(printable);
  });
  return {};
}

Result<void> make_digits(const Fields& fields, bool /*last*/, Chain& chain) {
  LISSOM_CHECK(fields.only({"individual_digits"}));
  LISSOM_TRY(const bool individual, fields.boolean("individual_digits", false));
  chain.result.stages.push_back(
      by_class(individual ? Behavior::isolated : Behavior::contiguous, unicode::kNumeric));
  return {};
}

Result<void> make_split(const Fields& fields, bool /*last*/, Chain& chain) {
  LISSOM_CHECK(fields.only({"pattern", "behavior", "invert"}));
  LISSOM_TRY(const Pattern pattern, make_pattern(fields, "pattern"));
  if (fields.find("behavior") == nullptr) return fields.wrong("behavior", "a string");
  LISSOM_TRY(const Behavior behavior, behavior_field(fields, Behavior::isolated));
  LISSOM_TRY(const bool invert, fields.boolean("invert", false));
  if (pattern.known != nullptr &&
      ((behavior == Behavior::isolated) || (behavior == Behavior::removed && invert))) {
    chain.result.stages.emplace_back(pattern.known);
    return {};
  }
  chain.result.stages.emplace_back([pattern, behavior, invert](std::string_view text, PieceSink piece) {
    Joiner joiner(text, behavior, piece);
    size_t done = 0;
    pattern.find_all(text, [&](size_t begin, size_t end) {
      if (done < begin) joiner.add(done, begin, invert);
      joiner.add(begin, end, !invert);
      done = end;
    });
    if (done < text.size()) joiner.add(done, text.size(), invert);
    joiner.finish();
  });
  return {};
}

Result<void> make_bert(const Fields& fields, bool /*last*/, Chain& chain) {
  LISSOM_CHECK(fields.only({}));
  // Both steps at once: white space ends a piece and goes, punctuation stands alone.
  chain.result.stages.emplace_back([&table = unicode::class_table()](std::string_view text, PieceSink piece) {
    const char* const end = text.data() + text.size();
    const char* word = text.data();
    for (const char* p = word; p < end;) {
      const char* const at = p;
      const uint16_t bits = table(unicode::decode(p));
      if ((bits & (unicode::kSpace | unicode::kPunctuation)) == 0) continue;
      if (word < at) piece(std::string_view(word, static_cast<size_t>(at - word)));
      if ((bits & unicode::kSpace) == 0) piece(std::string_view(at, static_cast<size_t>(p - at)));
      word = p;
    }
    if (word < end) piece(std::string_view(word, static_cast<size_t>(end - word)));
  });
  return {};
}

Result<void> make_whitespace(const Fields& fields, bool /*last*/, Chain& chain) {
  LISSOM_CHECK(fields.only({}));
  // \w+|[^\w\s]+, the rest dropped.
  chain.result.stages.emplace_back([&table = unicode::class_table()](std::string_view text, PieceSink piece) {
    const char* const end = text.data() + text.size();
    const char* begin = text.data();
    uint16_t kind = unicode::kSpace;
    for (const char* p = begin; p <= end;) {
      const char* const at = p;
      uint16_t next = unicode::kSpace;
      if (p < end) {
        const uint16_t bits = table(unicode::decode(p));
        next = (bits & unicode::kWord) != 0 ? unicode::kWord : bits & unicode::kSpace;
      } else {
        ++p;
      }
      if (next == kind) continue;
      if (kind != unicode::kSpace) piece(std::string_view(begin, static_cast<size_t>(at - begin)));
      begin = at;
      kind = next;
    }
  });
  return {};
}

Result<void> make_whitespace_split(const Fields& fields, bool /*last*/, Chain& chain) {
  LISSOM_CHECK(fields.only({}));
  chain.result.stages.push_back(by_class(Behavior::removed, unicode::kSpace));
  return {};
}

Result<void> make_punctuation(const Fields& fields, bool /*last*/, Chain& chain) {
  LISSOM_CHECK(fields.only({"behavior"}));
  LISSOM_TRY(const Behavior behavior, behavior_field(fields, Behavior::isolated));
  chain.result.stages.push_back(by_class(behavior, unicode::kPunctuation));
  return {};
}

Result<void> make_char_delimiter(const Fields& fields, bool /*last*/, Chain& chain) {
  LISSOM_CHECK(fields.only({"delimiter"}));
  LISSOM_TRY(const std::string delimiter, fields.string("delimiter"));
  const std::u32string character = unicode::to_code_points(unicode::replace_invalid(delimiter));
  if (character.size() != 1) return fields.wrong("delimiter", "one character");
  chain.result.stages.push_back(
      by_character(Behavior::removed, [c = character[0]](char32_t x) { return x == c; }));
  return {};
}

Result<void> make_metaspace(const Fields& fields, bool /*last*/, Chain& chain) {
  LISSOM_TRY(const Metaspace options, read_metaspace(fields));
  chain.result.stages.push_back(metaspace_stage(options));
  return {};
}

/// Pieces of `length` characters, and what is left.
Result<void> make_fixed_length(const Fields& fields, bool /*last*/, Chain& chain) {
  LISSOM_CHECK(fields.only({"length"}));
  LISSOM_TRY(const int64_t length, fields.integer("length", 5, 1, INT32_MAX));
  chain.result.stages.emplace_back([length](std::string_view text, PieceSink piece) {
    size_t begin = 0;
    int64_t n = 0;
    for (size_t i = 0; i < text.size();) {
      i += static_cast<size_t>(unicode::sequence_length(text[i]));
      if (++n % length != 0) continue;
      piece(text.substr(begin, i - begin));
      begin = i;
    }
    piece(text.substr(begin));
  });
  return {};
}

Result<void> make_sequence(const Fields& fields, bool last, Chain& chain) {
  LISSOM_CHECK(fields.only({"pretokenizers"}));
  LISSOM_TRY(const Json* list, fields.array("pretokenizers"));
  for (size_t i = 0; i < list->size(); ++i)
    LISSOM_CHECK(add_stages((*list)[i], fields.at("pretokenizers") + "[" + std::to_string(i) + "]",
                            last && i + 1 == list->size(), chain));
  return {};
}

struct Kind {
  std::string_view type;
  Result<void> (*make)(const Fields& fields, bool last, Chain& chain);
};
constexpr Kind kKinds[] = {
    {"ByteLevel", make_byte_level},
    {"Digits", make_digits},
    {"Split", make_split},
    {"BertPreTokenizer", make_bert},
    {"Whitespace", make_whitespace},
    {"WhitespaceSplit", make_whitespace_split},
    {"Punctuation", make_punctuation},
    {"CharDelimiterSplit", make_char_delimiter},
    {"Metaspace", make_metaspace},
    {"FixedLength", make_fixed_length},
    {"Sequence", make_sequence},
};

Result<void> add_stages(const Json& json, const std::string& where, bool last, Chain& chain) {
  LISSOM_TRY(const Fields fields, fields_of(json, where));
  LISSOM_TRY(const std::string type, fields.type());
  for (const Kind& kind : kKinds)
    if (kind.type == type) return kind.make(fields, last, chain);
  return unsupported(fields.at("type") + ": unknown pre-tokenizer " + in_quotes(type));
}

}  // namespace

Result<PreTokenizers> make_pre_tokenizers(const Json& json, const std::string& where, bool maps_bytes) {
  Chain chain;
  chain.maps_bytes = maps_bytes;
  if (!json.is_null()) LISSOM_CHECK(add_stages(json, where, true, chain));
  return std::move(chain.result);
}

}  // namespace lissom::tok
