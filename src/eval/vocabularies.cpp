#include "eval/vocabularies.h"

#include <algorithm>
#include <string>

#include "lissom/gguf.h"

namespace lissom {

Result<void> check_vocabularies(const Checkpoint& model, const Checkpoint& base) {
  const std::string both = model.path.string() + " and " + base.path.string();
  if (model.config.vocab != base.config.vocab) {
    return bad_input(both + ": the vocabularies differ: " + std::to_string(model.config.vocab) + " and " +
                     std::to_string(base.config.vocab) + " tokens");
  }
  if (!model.metadata || !base.metadata) return {};
  const auto* ours = model.metadata->array<std::string>("tokenizer.ggml.tokens");
  const auto* theirs = base.metadata->array<std::string>("tokenizer.ggml.tokens");
  if (ours == nullptr || theirs == nullptr) return {};
  const auto [a, b] = std::ranges::mismatch(*ours, *theirs);
  if (a == ours->end() || b == theirs->end()) return {};
  return bad_input(both + ": the vocabularies differ: token " + std::to_string(a - ours->begin()) +
                   " is not the same");
}

}  // namespace lissom
