#pragma once
// One input: by which factors its channels are best scaled before the linears that read it are encoded.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/threads.h"
#include "compress/algorithms/products.h"
#include "lissom/codec.h"

namespace lissom {

/// Some rows of a linear that reads the input.
struct ScaledLinear {
  const Codec* codec = nullptr;
  int64_t rows = 0;
  std::vector<float> weights;     ///< rows × columns
  std::vector<float> importance;  ///< of the columns; empty: 1
};

struct ScaledInput {
  int64_t columns = 0;
  std::vector<int32_t> channel;  ///< of each column
  int64_t channels = 0;
  SquareMatrix fit, judge;  ///< second moments of the input, whole; of text to choose by, and of other text
  std::vector<ScaledLinear> linears;
};

struct ScaleChoice {
  /// One for each channel: consumers' columns are multiplied by it. Empty: nothing helps.
  std::vector<float> factors;
  double input_exponent = 0, weight_exponent = 0;
  /// Error of the outputs on fit and on judge, over that without factors; mean of the linears.
  double fit_ratio = 1, judge_ratio = 1;
};

/// AWQ (arXiv 2306.00978) with an exponent for each of its two sizes: a channel's factor is the root mean
/// square of its inputs to the power of the one, over that of its weights to the power of the other. Those are
/// searched for that lose least on `fit` where the codecs encode the scaled rows, and taken if they lose less
/// on `judge` too.
[[nodiscard]] ScaleChoice choose_scales(ThreadPool& pool, const ScaledInput& input);

}  // namespace lissom
