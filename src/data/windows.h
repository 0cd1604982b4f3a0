#pragma once
// The windows of a text that perplexity is measured on, as llama-perplexity cuts them.

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "lissom/result.h"
#include "lissom/tokenizer.h"

namespace lissom {

/// A text as one run of tokens, begun by BOS where the model wants one, cut every `context` tokens.
struct Windows {
  std::vector<int32_t> tokens;
  int64_t context = 0;
  int64_t count = 0;           ///< whole windows to be scored
  std::optional<int32_t> bos;  ///< stands in for the first token of each window

  /// What the model reads: `context` tokens. Only the last half of them is predicted: those at positions
  /// context/2 + 1 … context - 1, each from all before it.
  void input(int64_t window, std::span<int32_t> out) const;
  [[nodiscard]] int64_t first_scored() const { return context / 2; }  ///< position whose logits count first
  [[nodiscard]] int64_t scored() const { return context - 1 - context / 2; }
  /// The token that should follow `position` of the window.
  [[nodiscard]] int32_t target(int64_t window, int64_t position) const {
    return tokens[static_cast<size_t>(window * context + position + 1)];
  }
};

/// The token that the tokenizer puts before a text, if it does.
[[nodiscard]] std::optional<int32_t> leading_token(const Tokenizer& tokenizer);

/// `chunks` 0, or more than there are: all. One line end at the end of the text is dropped, as llama-perplexity
/// does. Errors: context < 4, or a text shorter than one window, told with both counts.
[[nodiscard]] Result<Windows> cut_windows(const Tokenizer& tokenizer, std::string_view text, int64_t context,
                                          int64_t chunks);

}  // namespace lissom
