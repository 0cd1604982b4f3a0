#pragma once
// Importance statistics: what the inputs of each linear look like while the model reads a text.

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "lissom/compress.h"
#include "lissom/runtime.h"
#include "lissom/tokenizer.h"

namespace lissom {

/// Of a chunk's tokens, the output matrix sees each of this many.
inline constexpr int64_t kHeadStride = 8;

struct CalibrationOptions {
  int64_t context = 512;  ///< tokens per chunk, as llama-imatrix has it
  int64_t chunks = 0;     ///< at most; 0: the whole text
  /// What chunks may hold between two stages of the model, F32, unless one chunk alone has more: a longer text
  /// is read in several passes over the weights. Rounding it to 16 bits instead would change the statistics.
  uint64_t carried_bytes = uint64_t{128} << 20;
  RuntimeOptions runtime = {};
};

/// A calibration text in chunks: what `batches` speak of lies in the other members.
struct CalibrationChunks {
  std::vector<int32_t> ids;
  std::vector<uint8_t> wanted;
  int64_t context = 0;
  std::vector<Batch> batches;
};
/// Chunks of options.context tokens, begun by BOS where the model wants one. Errors: fewer than 16 tokens.
[[nodiscard]] Result<CalibrationChunks> cut_calibration(const Checkpoint& checkpoint,
                                                        const Tokenizer& tokenizer, std::string_view text,
                                                        const CalibrationOptions& options);

/// Runs the text in chunks of `context` tokens (a text shorter than that is one chunk), each from an empty
/// cache and begun by BOS where the model wants one. The model goes by a stage at a time (runtime/observe.h):
/// of its weights only those at work are in memory. A chunk with activations that are not finite is left out,
/// of all layers, and counted. `dataset` is recorded. The input of the output matrix is that of every eighth
/// token. Errors: fewer than 16 tokens, no chunk with finite activations.
[[nodiscard]] Result<Importance> collect_importance(const Checkpoint& checkpoint, const Tokenizer& tokenizer,
                                                    std::string_view text, const std::string& dataset,
                                                    const CalibrationOptions& options,
                                                    const Progress& progress);

/// Bytes that collect_importance() needs for so many tokens (0: any number), from shapes and types alone.
[[nodiscard]] Result<uint64_t> importance_memory(const Checkpoint& checkpoint, int64_t tokens,
                                                 const CalibrationOptions& options);

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
