#pragma once
// Text for importance statistics where the user gives none: the model's own.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "lissom/progress.h"
#include "lissom/result.h"
#include "lissom/runtime.h"
#include "lissom/tokenizer.h"

namespace lissom {

/// Sequences that are drawn side by side: one pass over the weights gives a token of each.
inline constexpr int64_t kSampledAtOnce = 32;
/// Draws among so many of the likeliest tokens. Without a bound, half the time goes into sorting a tail that
/// holds a few percent of the probability.
inline constexpr int kSampledLikeliest = 1024;

struct OwnText {
  int64_t tokens = 0;  ///< in all
  uint64_t seed = 0;
  int64_t length = 256;  ///< of a sequence, at most
  int threads = 0;       ///< that draw; 0: the number of physical cores. The text does not depend on it
};

/// Draws tokens from the model itself, many sequences at a time (a pass over the weights gives a token of
/// each): temperature 1, the 1024 likeliest, of them top-p 0.95. Every other sequence starts from the model's
/// first token (BOS, else its end of text) alone, the others have a token drawn evenly from the vocabulary
/// after it, for variety. A sequence that ends early is followed by another. The same model file, options, seed
/// and machine give the same tokens for any number of threads. Control tokens are never drawn. Errors: tokens <
/// 1, a model without next-token logits.
[[nodiscard]] Result<std::vector<std::vector<int32_t>>> sample_calibration_tokens(
    const std::shared_ptr<Model>& model, const Tokenizer& tokenizer, const OwnText& wanted,
    const Progress& progress);

/// The same as text, a blank line between two sequences.
[[nodiscard]] Result<std::string> sample_calibration_text(const std::shared_ptr<Model>& model,
                                                          const Tokenizer& tokenizer, const OwnText& wanted,
                                                          const Progress& progress);

}  // namespace lissom
