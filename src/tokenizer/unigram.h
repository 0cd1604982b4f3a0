#pragma once
// Unigram language model (Kudo 2018): the segmentation of highest probability, by Viterbi over a trie of the
// tokens. Included by .cpp files only.

#include <memory>

#include "tokenizer/fields.h"
#include "tokenizer/pipeline.h"

namespace lissom::tok {

/// {"type": "Unigram", "unk_id", "byte_fallback"}; scores come with the parts. Our own field "sentencepiece":
/// sums are rounded to F32, as SentencePiece keeps them. Without unk_id, what no token covers vanishes.
[[nodiscard]] Result<std::unique_ptr<Model>> make_unigram(const Parts& parts, const Fields& fields,
                                                          bool byte_level);

}  // namespace lissom::tok
