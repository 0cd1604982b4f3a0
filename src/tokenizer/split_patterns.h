#pragma once
// The split patterns of the well-known byte-level vocabularies, matched by hand: several times as fast as a
// regular expression engine and held equal to it by tests.

#include <string_view>

#include "tokenizer/function_ref.h"

namespace lissom::tok {

/// Calls piece(text) for each match in turn; the matches cover the whole text, which is well-formed UTF-8.
using Splitter = void (*)(std::string_view text, FunctionRef<void(std::string_view)> piece);

/// ByteLevel's own pattern (GPT-2).
void split_gpt2(std::string_view text, FunctionRef<void(std::string_view)> piece);

struct KnownPattern {
  std::string_view name, pattern;
  Splitter split;
};
extern const KnownPattern kGpt2, kLlama3, kQwen2;
/// The splitter whose pattern is exactly this, or null.
[[nodiscard]] Splitter find_splitter(std::string_view pattern);

}  // namespace lissom::tok
