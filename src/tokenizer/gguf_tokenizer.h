#pragma once
// Tokenizers in GGUF metadata (tokenizer.ggml.*). Included by .cpp files only.

#include <string>
#include <string_view>
#include <vector>

#include "lissom/gguf.h"
#include "lissom/result.h"
#include "tokenizer/parts.h"

namespace lissom::tok {

/// The tokenizer that the metadata describes, as tokenizer.json would have it. `own_kinds`: stages may be of
/// our own kinds, which only we read.
[[nodiscard]] Result<Parts> parts_from_gguf(const GgufMetadata& metadata, const std::string& origin,
                                            bool own_kinds = true);

/// Rows of tokenizer.ggml.tokens and .token_type; ids without a token become [PADi], unused.
struct TokenTable {
  std::vector<std::string> tokens;
  std::vector<int32_t> types;
};
[[nodiscard]] TokenTable token_table(const Parts& parts, int64_t rows, bool word_pieces);

/// tokenizer.ggml.* of a vocabulary of pieces, without its special tokens: model `llama` for a BPE, `t5` for a
/// Unigram. What those keys cannot say is kept in lissom.tokenizer.*.
[[nodiscard]] Result<void> add_gguf_pieces(const Parts& parts, const std::string& origin, int64_t rows,
                                           GgufMetadata& out);
/// The same for a tokenizer.model.
[[nodiscard]] Result<void> add_gguf_sentencepiece(std::string_view model, const std::string& origin,
                                                  int64_t rows, GgufMetadata& out);
/// A BPE over pieces, not over bytes.
[[nodiscard]] bool is_piece_bpe(const Parts& parts);

/// A value of tokenizer.ggml.pre and what it stands for.
struct PreName {
  std::string name;
  Json pre_tokenizer;
  bool ignore_merges = false;
  bool add_bos = false;  ///< llama.cpp's choice where the file does not say
  bool nfc = false;
};
/// Every name that llama.cpp knows and we read; the first of equal ones is the one to write.
[[nodiscard]] const std::vector<PreName>& pre_names();

}  // namespace lissom::tok
