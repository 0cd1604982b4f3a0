#pragma once
// Tokens weighed by what the prediction loses when a linear errs on them, instead of alike.

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "lissom/compress.h"
#include "lissom/engine.h"
#include "lissom/runtime.h"

namespace lissom {

/// Of the chunks of a text, for each input of linears that carries no weights itself (runtime::is_weighed).
class FisherWeights {
 public:
  /// Every token alike.
  FisherWeights() = default;
  /// Reads each chunk forwards and back. A chunk whose gradients are not finite has its tokens alike, as have
  /// inputs of experts. Linears that share an input share its weights: the mean of theirs. Memory: the engine's
  /// (distill_memory() is enough), and a float for each token and input.
  [[nodiscard]] static Result<FisherWeights> collect(const Checkpoint& checkpoint, const Engine& engine,
                                                     std::span<const Batch> chunks, int threads,
                                                     const Progress& progress);

  /// x (rows × cols), the input under this label of one chunk's tokens, each row times the root of its token's
  /// weight; x itself where tokens are alike. The mean of the weights over the text is 1. Of fewer rows than
  /// the chunk has tokens, they are every so-many-th from the first on. Valid until the next call.
  [[nodiscard]] const float* weigh(const std::string& label, size_t chunk, const float* x, int64_t rows,
                                   int64_t cols);
  [[nodiscard]] bool knows(const std::string& label) const { return roots_.contains(label); }

 private:
  std::map<std::string, std::vector<float>> roots_;  ///< chunks × tokens
  int64_t tokens_ = 0;                               ///< of a chunk
  std::vector<float> weighed_;
};

}  // namespace lissom
