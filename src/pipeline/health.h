#pragma once
// Whether a compressed model still talks: it continues some beginnings, and what goes wrong with damaged models
// is counted: going round in circles, stopping at once, and saying one word for ever.

#include <memory>
#include <span>
#include <vector>

#include "lissom/runtime.h"

namespace lissom {

/// The check of a job: so many beginnings, of so many tokens, continued by so many.
inline constexpr int64_t kHealthPrompts = 4, kPromptTokens = 32, kHealthTokens = 64;

struct Health {
  double repetition = 0;  ///< share of 4-grams that the same continuation had before
  double early_stop = 0;  ///< share of continuations that ended within 8 tokens
  double one_word = 0;    ///< share of continuations whose second half goes round within 4 tokens
  int64_t tokens = 0;     ///< generated
  std::vector<std::vector<int32_t>> texts = {};  ///< the continuations
};

/// Continues each prompt (none empty) by up to `tokens` tokens, with `seed`. Temperature 0: greedily.
[[nodiscard]] Result<Health> check_health(const std::shared_ptr<Model>& model,
                                          std::span<const std::vector<int32_t>> prompts, int64_t tokens,
                                          uint64_t seed, float temperature = 0.8F);

/// Share of the n-grams of `tokens` that occur in it before; 0 where it is shorter.
[[nodiscard]] double repeated_share(std::span<const int32_t> tokens, size_t n);
/// Whether the second half of `tokens` repeats itself every `period` tokens or fewer, at least three times.
[[nodiscard]] bool goes_round(std::span<const int32_t> tokens, size_t period);

}  // namespace lissom
