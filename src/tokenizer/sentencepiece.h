#pragma once
// tokenizer.model: SentencePiece's own file, a protobuf of pieces, trainer and normalizer settings
// (sentencepiece_model.proto). Included by .cpp files only.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lissom/result.h"
#include "tokenizer/fields.h"
#include "tokenizer/parts.h"
#include "tokenizer/pipeline.h"

namespace lissom::tok {

struct SentencePieceModel {
  enum Type { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };
  struct Piece {
    std::string text;
    float score = 0;
    int type = kNormal;  ///< the numbers of tokenizer.ggml.token_type, too
  };
  std::vector<Piece> pieces;
  bool bpe = false;  ///< else unigram
  bool byte_fallback = false;
  std::string charsmap;
  bool add_dummy_prefix = true, remove_extra_whitespaces = true;
  int64_t unknown = -1, bos = -1, eos = -1, pad = -1;  ///< ids; -1: none
};

/// Of 64 MiB at most. Refuses other model types (word, char), pieces longer than 512 bytes, and white space as
/// suffix.
[[nodiscard]] Result<SentencePieceModel> read_sentencepiece(std::string_view bytes, const std::string& origin);

/// Encodes as SentencePiece does, except that control tokens ("<s>") are found in a text, as chat templates
/// want.
[[nodiscard]] Result<Parts> parts_from_sentencepiece(const SentencePieceModel& model,
                                                     const std::string& origin);
/// The stages of such a tokenizer.
[[nodiscard]] Json sentencepiece_normalizer(const SentencePieceModel& model);
[[nodiscard]] Json sentencepiece_decoder(const SentencePieceModel& model);

/// Merges of a SentencePiece BPE: every way to put a token of `scores` together of two others, best score
/// first. `shared_ranks`: equal scores share a rank, so that the leftmost wins, as SentencePiece has it; else
/// each merge has its own, in the order that transformers gives them in a tokenizer.json. `usable`: by id.
void add_scored_merges(Parts& parts, const std::vector<float>& scores, const std::vector<bool>& usable,
                       bool shared_ranks);

/// {"type": "SentencePiece", …} of a normalizer and a decoder: our own kinds.
[[nodiscard]] Result<Normalizer> make_sentencepiece_normalizer(const Fields& fields);
[[nodiscard]] Result<Decoder> make_sentencepiece_decoder(const Fields& fields, Decoders& all);

}  // namespace lissom::tok
