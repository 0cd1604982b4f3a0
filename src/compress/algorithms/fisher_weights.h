#pragma once
// Tokens weighed by what the prediction loses when a linear errs on them, instead of alike.

#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "lissom/compress.h"
#include "lissom/engine.h"
#include "lissom/runtime.h"

namespace lissom {

/// Of the chunks of a text, for each input of linears that carries no weights itself (runtime::is_weighed); and
/// for some of these linears, which of their outputs' errors go together.
class FisherWeights {
 public:
  /// Every token alike.
  FisherWeights() = default;
  /// Reads each chunk forwards and back. A chunk whose gradients are not finite has its tokens alike, as have
  /// inputs of experts. Linears that share an input share its weights: the mean of theirs. `coupled`: tensors
  /// whose moments() are wanted. Memory: fisher_memory(), a float for each token and input, and the moments.
  [[nodiscard]] static Result<FisherWeights> collect(const Checkpoint& checkpoint, const Engine& engine,
                                                     std::span<const Batch> chunks,
                                                     const std::set<std::string>& coupled,
                                                     const EngineOptions& options, const Progress& progress);

  /// x (rows × cols), the input under this label of one chunk's tokens, each row times the root of its token's
  /// weight; x itself where tokens are alike. The mean of the weights over the text is 1. Of fewer rows than
  /// the chunk has tokens, they are every so-many-th from the first on. Valid until the next call.
  [[nodiscard]] const float* weigh(const std::string& label, size_t chunk, const float* x, int64_t rows,
                                   int64_t cols);
  /// Σ g·gᵀ over all tokens of the gradients by a tensor's outputs (rows × rows); empty: not known.
  [[nodiscard]] std::span<const float> moments(const std::string& tensor) const {
    const auto found = moments_.find(tensor);
    return found == moments_.end() ? std::span<const float>() : std::span<const float>(found->second);
  }
  [[nodiscard]] bool knows(const std::string& label) const { return roots_.contains(label); }

 private:
  std::map<std::string, std::vector<float>> roots_;  ///< chunks × tokens
  int64_t tokens_ = 0;                               ///< of a chunk
  std::vector<float> weighed_;
  std::map<std::string, std::vector<float>> moments_;  ///< by tensor
};

/// Bytes that an engine holds at most while it reads chunks of so many tokens for Fisher information, in BF16.
[[nodiscard]] uint64_t fisher_memory(const Checkpoint& checkpoint, int64_t tokens, bool by_block);

}  // namespace lissom
