#pragma once
// Importance statistics: what the inputs of each linear look like while the model reads a text.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "lissom/compress.h"
#include "lissom/runtime.h"
#include "lissom/tokenizer.h"

namespace lissom {

/// Of a chunk's tokens, the output matrix sees each of this many: it costs as much as all layers together.
inline constexpr int64_t kHeadStride = 8;

struct CalibrationOptions {
  int64_t context = 512;  ///< tokens per chunk, as llama-imatrix has it
  int64_t chunks = 0;     ///< at most; 0: the whole text
};

/// Runs the text in chunks of `context` tokens (a text shorter than that is one chunk), each from an empty
/// cache and begun by BOS where the model wants one. A chunk with activations that are not finite is left out
/// and counted. `dataset` is recorded. The output matrix sees every eighth token: it costs as much as all
/// layers together. Errors: fewer than 16 tokens, no chunk with finite activations.
[[nodiscard]] Result<Importance> collect_importance(const std::shared_ptr<Model>& model,
                                                    const Tokenizer& tokenizer, std::string_view text,
                                                    const std::string& dataset,
                                                    const CalibrationOptions& options,
                                                    const Progress& progress);

/// The sums of one chunk by input label, and their sum over the chunks that were finite.
class SquareSums {
 public:
  void add(const std::string& label, const float* x, int64_t rows, int64_t cols);
  /// Ends a chunk. False, and the chunk is forgotten, where a sum is not finite.
  bool commit();
  /// One entry for each linear and each mixture of the graph whose input was seen. An expert's label is its
  /// mixture's with "#" and its number.
  [[nodiscard]] std::map<std::string, Importance::Entry> entries(const Graph& graph) const;

 private:
  struct Sum {
    std::vector<double> square;
    int64_t tokens = 0;
  };
  void add_to(Importance::Entry& entry, const std::string& label) const;
  [[nodiscard]] Importance::Entry expert_entry(const std::string& label, int64_t experts, int64_t cols) const;
  std::map<std::string, Sum> chunk_, total_;
};

}  // namespace lissom
