#include <array>

#include "base/text.h"
#include "tokenizer/bpe.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/byte_tokens.h"
#include "tokenizer/fields.h"
#include "tokenizer/pipeline.h"
#include "tokenizer/unicode.h"
#include "tokenizer/unigram.h"

namespace lissom::tok {
namespace {

Result<int32_t> token_field(const Fields& fields, std::string_view field, const Vocab& vocab) {
  if (fields.find(field) == nullptr) return Vocab::kAbsent;
  LISSOM_TRY(const std::string token, fields.string(field));
  const int32_t id = vocab.find(token);
  if (id == Vocab::kAbsent)
    return bad_input(fields.at(field) + ": token " + in_quotes(token) + " is not in the vocabulary");
  return id;
}

// ---------------------------------------------------------------- BPE

struct BpeOptions {
  std::string prefix, suffix;  ///< of all symbols but the first; of the last
  int32_t unknown = Vocab::kAbsent;
  bool fuse_unknown = false, byte_fallback = false, ignore_merges = false;
};

class Bpe : public Model {
 public:
  Bpe(const Parts& parts, BpeOptions options, bool byte_level)
      : vocab_(parts.vocab),
        options_(std::move(options)),
        byte_level_(byte_level),
        merges_(parts.merges.size()) {
    std::string merged;
    for (size_t rank = 0; rank < parts.merges.size(); ++rank) {
      const auto [left, right] = parts.merges[rank];
      merged.assign(*vocab_.token(left));
      merged += vocab_.token(right)->substr(std::min(vocab_.token(right)->size(), options_.prefix.size()));
      merges_.add(left, right, parts.ranks.empty() ? static_cast<uint32_t>(rank) : parts.ranks[rank],
                  vocab_.find(merged));
    }
    for (size_t b = 0; b < 256; ++b) {
      std::string token;
      const char byte = static_cast<char>(b);
      append_byte_characters(token, {&byte, 1});
      byte_ids_[b] = vocab_.find(token);
    }
    fallback_ids_ = byte_tokens(vocab_);
    // The usual case: every symbol is one byte with a token of its own.
    plain_bytes_ = byte_level_ && options_.prefix.empty() && options_.suffix.empty();
    for (const int32_t id : byte_ids_) plain_bytes_ = plain_bytes_ && id != Vocab::kAbsent;
  }

  void encode(std::string_view word, std::vector<int32_t>& ids) const override {
    if (options_.ignore_merges) {
      if (const int32_t id = whole_word(word); id != Vocab::kAbsent) {
        ids.push_back(id);
        return;
      }
    }
    std::vector<int32_t> symbols;
    symbols.reserve(word.size());
    if (plain_bytes_) {
      for (const char b : word) symbols.push_back(byte_ids_[static_cast<unsigned char>(b)]);
    } else {
      characters(word, symbols);
    }
    merge_symbols(merges_, symbols);
    ids.insert(ids.end(), symbols.begin(), symbols.end());
  }

 private:
  [[nodiscard]] int32_t whole_word(std::string_view word) const {
    if (!byte_level_) return vocab_.find(word);
    std::string printable;
    append_byte_characters(printable, word);
    return vocab_.find(printable);
  }

  /// One symbol per character, with prefix, suffix, byte fallback and unknowns as the options say.
  void characters(std::string_view word, std::vector<int32_t>& symbols) const {
    std::string printable;
    if (byte_level_) {
      append_byte_characters(printable, word);
      word = printable;
    }
    bool pending_unknown =
        false;  // an unknown is written when something known follows, so that unknowns can fuse
    std::string symbol;
    for (size_t i = 0; i < word.size();) {
      const auto length = static_cast<size_t>(unicode::sequence_length(word[i]));
      symbol = i == 0 ? "" : options_.prefix;
      symbol.append(word, i, length);
      i += length;
      if (i >= word.size()) symbol += options_.suffix;
      if (const int32_t id = vocab_.find(symbol); id != Vocab::kAbsent) {
        if (pending_unknown) symbols.push_back(options_.unknown);
        pending_unknown = false;
        symbols.push_back(id);
      } else if (!(options_.byte_fallback && append_byte_tokens(fallback_ids_, symbol, symbols)) &&
                 options_.unknown != Vocab::kAbsent) {
        if (pending_unknown && !options_.fuse_unknown) symbols.push_back(options_.unknown);
        pending_unknown = true;
      }
    }
    if (pending_unknown) symbols.push_back(options_.unknown);
  }

  const Vocab& vocab_;
  BpeOptions options_;
  bool byte_level_, plain_bytes_ = false;
  MergeTable merges_;
  std::array<int32_t, 256> byte_ids_{};
  ByteTokens fallback_ids_{};
};

Result<std::unique_ptr<Model>> make_bpe(const Parts& parts, const Fields& fields, bool byte_level) {
  LISSOM_CHECK(fields.only({"dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
                            "fuse_unk", "byte_fallback", "ignore_merges"}));
  if (const Json* dropout = fields.find("dropout"); dropout != nullptr && *dropout != 0)
    return unsupported(fields.at("dropout") + ": dropout makes tokenization random");
  BpeOptions options;
  LISSOM_TRY(options.prefix, fields.string("continuing_subword_prefix", ""));
  LISSOM_TRY(options.suffix, fields.string("end_of_word_suffix", ""));
  LISSOM_TRY(options.unknown, token_field(fields, "unk_token", parts.vocab));
  LISSOM_TRY(options.fuse_unknown, fields.boolean("fuse_unk", false));
  LISSOM_TRY(options.byte_fallback, fields.boolean("byte_fallback", false));
  LISSOM_TRY(options.ignore_merges, fields.boolean("ignore_merges", false));
  return std::make_unique<Bpe>(parts, std::move(options), byte_level);
}

// ---------------------------------------------------------------- WordPiece

/// Greedy longest match from the left; a word that cannot be covered is one unknown token.
class WordPiece : public Model {
 public:
  WordPiece(const Parts& parts, std::string prefix, int32_t unknown, int64_t max_characters)
      : vocab_(parts.vocab), prefix_(std::move(prefix)), unknown_(unknown), max_characters_(max_characters) {
    for (int64_t id = 0; id < vocab_.end_id(); ++id)
      if (const auto token = vocab_.token(id)) longest_ = std::max(longest_, token->size());
  }

  void encode(std::string_view word, std::vector<int32_t>& ids) const override {
    const size_t before = ids.size();
    if (characters(word) > max_characters_) {
      ids.push_back(unknown_);
      return;
    }
    std::string piece;
    for (size_t begin = 0; begin < word.size();) {
      const size_t prefix = begin == 0 ? 0 : prefix_.size();
      piece.assign(prefix_, 0, prefix);
      piece.append(word, begin, longest_);
      // Cut back to whole characters, then character by character.
      size_t end = std::min(word.size(), begin + longest_);
      int32_t id = Vocab::kAbsent;
      while (end > begin) {
        if (end == word.size() || (static_cast<unsigned char>(word[end]) & 0xc0U) != 0x80U) {
          id = vocab_.find(std::string_view(piece).substr(0, prefix + end - begin));
          if (id != Vocab::kAbsent) break;
        }
        --end;
      }
      if (id == Vocab::kAbsent) {
        ids.resize(before);
        ids.push_back(unknown_);
        return;
      }
      ids.push_back(id);
      begin = end;
    }
  }

 private:
  static int64_t characters(std::string_view word) {
    int64_t n = 0;
    for (const char b : word) n += (static_cast<unsigned char>(b) & 0xc0U) != 0x80U ? 1 : 0;
    return n;
  }

  const Vocab& vocab_;
  std::string prefix_;
  int32_t unknown_;
  int64_t max_characters_;
  size_t longest_ = 1;  ///< bytes of the longest token
};

Result<std::unique_ptr<Model>> make_wordpiece(const Parts& parts, const Fields& fields, bool /*byte_level*/) {
  LISSOM_CHECK(fields.only({"unk_token", "continuing_subword_prefix", "max_input_chars_per_word"}));
  LISSOM_TRY(const std::string prefix, fields.string("continuing_subword_prefix", "##"));
  LISSOM_TRY(const int32_t unknown, token_field(fields, "unk_token", parts.vocab));
  if (unknown == Vocab::kAbsent) return fields.wrong("unk_token", "a token of the vocabulary");
  LISSOM_TRY(const int64_t limit, fields.integer("max_input_chars_per_word", 100, 0, 1'000'000));
  return std::make_unique<WordPiece>(parts, prefix, unknown, limit);
}

struct Kind {
  std::string_view type;
  Result<std::unique_ptr<Model>> (*make)(const Parts& parts, const Fields& fields, bool byte_level);
};
constexpr Kind kKinds[] = {
    {"BPE", make_bpe},
    {"WordPiece", make_wordpiece},
    {"Unigram", make_unigram},
};

}  // namespace

Result<std::unique_ptr<Model>> make_model(const Parts& parts, bool byte_level, const std::string& where) {
  LISSOM_TRY(const Fields fields, fields_of(parts.model, where));
  // Files of before 2021 leave the type of a BPE out.
  LISSOM_TRY(const std::string type, fields.string("type", !parts.scores.empty()  ? "Unigram"
                                                           : parts.merges.empty() ? ""
                                                                                  : "BPE"));
  for (const Kind& kind : kKinds)
    if (kind.type == type) return kind.make(parts, fields, byte_level);
  return unsupported(fields.at("type") + ": unknown model " + in_quotes(type));
}

}  // namespace lissom::tok
