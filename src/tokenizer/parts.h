#pragma once
// A tokenizer taken apart: what tokenizer.json and GGUF metadata both become, and what both are written from.
// Included by .cpp files only.

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "format/json.h"
#include "lissom/result.h"
#include "tokenizer/vocab.h"

namespace lissom::tok {

struct AddedToken {
  std::string content;
  int32_t id = 0;
  bool single_word = false, lstrip = false, rstrip = false, normalized = true, special = false;
  bool verbatim = false;  ///< looked for in the normalized text as it stands: SentencePiece's user-defined ones
};

/// The component objects are as tokenizer.json has them, or null.
struct Parts {
  std::vector<AddedToken> added;
  Json normalizer, pre_tokenizer, post_processor, decoder;
  Json truncation, padding;
  Json model;  ///< without its vocab and merges
  Vocab vocab;
  std::vector<double> scores;                  ///< Unigram: log probability by id; else empty
  std::vector<std::array<int32_t, 2>> merges;  ///< ids of left and right; rank is the position
  std::vector<uint32_t> ranks;                 ///< of the merges where several share one; else empty
};

[[nodiscard]] Result<Parts> parts_from_json(std::string_view json, const std::string& origin);
/// The list "added_tokens" of tokenizer.json.
[[nodiscard]] Json added_list(const Parts& parts);
/// tokenizer.json text.
[[nodiscard]] std::string json_from_parts(const Parts& parts);

}  // namespace lissom::tok
