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

/// Draws `tokens` tokens in all from the model itself, as sequences of at most `length`, several at a time:
/// temperature 1, top-p 0.95. Every other sequence starts from the model's first token (BOS, else its end of
/// text) alone, the others have a token drawn evenly from the vocabulary after it, for variety. A sequence that
/// ends early is followed by another. The same model file, options, seed and machine give the same tokens for
/// any number of threads. Control tokens are never drawn. Errors: tokens < 1, a model without next-token
/// logits.
[[nodiscard]] Result<std::vector<std::vector<int32_t>>> sample_calibration_tokens(
    const std::shared_ptr<Model>& model, const Tokenizer& tokenizer, int64_t tokens, uint64_t seed,
    const Progress& progress, int64_t length = 256);

/// The same as text, a blank line between two sequences.
[[nodiscard]] Result<std::string> sample_calibration_text(const std::shared_ptr<Model>& model,
                                                          const Tokenizer& tokenizer, int64_t tokens,
                                                          uint64_t seed, const Progress& progress);

}  // namespace lissom
