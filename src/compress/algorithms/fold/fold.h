#pragma once
// Equivalent transforms that are folded into the weights before they are encoded: the model says the same,
// whatever runs it knows of nothing, and codecs lose less. docs/compress.md tells how and what it gains.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "compress/algorithms/fold/pairs.h"
#include "compress/algorithms/fold/transformed_source.h"
#include "compress/calibrate.h"
#include "lissom/compress.h"
#include "lissom/tokenizer.h"

namespace lissom {

/// A checkpoint that says what another one says, in other weights.
struct Folded {
  Checkpoint checkpoint;                 ///< its tensors are made when they are read
  std::optional<Importance> importance;  ///< of the inputs as they are now, where there was one
};

/// Adds to `transforms` that the pair's consumers' columns are multiplied by factors (one for each channel, >
/// 0) and its producers' rows divided by them.
void fold_factors(const Graph& graph, const FoldPair& pair, std::span<const float> factors,
                  Transforms& transforms);

struct RotationOptions {
  bool heads = false;     ///< v and o, within each head
  bool residual = false;  ///< the values between the blocks
  uint64_t seed = 0;
};
struct RotatedModel {
  Folded folded;
  int64_t heads = 0;              ///< layers whose v and o are rotated
  bool residual = false;          ///< whether the stream is
  std::vector<std::string> left;  ///< "label: why", of v and o that are not
};
/// Rotates. A rotated input's statistics are what rotation makes of uncorrelated ones, the mean over what is
/// rotated; where a text is at hand it is better to take them anew. Errors: `residual` of a model that cannot
/// (find_residual_stream()).
[[nodiscard]] Result<RotatedModel> rotate_model(const Checkpoint& checkpoint,
                                                const std::optional<Importance>& importance,
                                                const RotationOptions& options);

struct ScaleOptions {
  CalibrationOptions calibration;
  int threads = 0;
  int64_t tokens = 16 << 10;  ///< that are read at most, spread over the text
  int64_t rows = 96;          ///< of each matrix that factors are tried on, at most
  double token_limit = 4;     ///< a token's squares count no more than so many times the median's; 0: no limit
};
struct ScaledPair {
  std::string label, through;  ///< of the input; "norm", "attention" or "product"
  double input_exponent = 0, weight_exponent = 0;
  double judge_ratio = 1;  ///< error of the outputs on text that was held out, over that without factors
};
struct ScaledModel {
  Folded folded;
  std::vector<ScaledPair> pairs;  ///< that have factors
  int64_t tried = 0;              ///< pairs that were
  std::vector<std::string> left;  ///< "label: why", where the graph has no room
  int64_t chunks = 0;
  double seconds = 0;
};
/// AWQ (arXiv 2306.00978) for every pair of the graph (find_fold_pairs()) whose consumers the plan quantizes:
/// factors are chosen with the plan's own codecs, by the error of the outputs on three quarters of the chunks,
/// and taken where they lose less on the others too. `importance`: what the codecs will be given, of
/// `checkpoint`. Memory: the second moments of a stage's inputs twice, and a row of the model's width for each
/// token. Errors: a text of fewer than 16 tokens; a checkpoint that cannot be read.
[[nodiscard]] Result<ScaledModel> scale_model(const Checkpoint& checkpoint, const Plan& plan,
                                              const std::optional<Importance>& importance,
                                              const Tokenizer& tokenizer, std::string_view text,
                                              const ScaleOptions& options, const Progress& progress);

/// Bytes that scale_model() holds beside the model's stage at work.
[[nodiscard]] uint64_t scale_memory(const Checkpoint& checkpoint, const ScaleOptions& options);

}  // namespace lissom
