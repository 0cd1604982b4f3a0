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
  double exponent = 0;     ///< alpha
  bool by_weight = false;  ///< divided by the weights' own size to the power of 1 - alpha
  /// Error of the outputs on fit and on judge, over that without factors; mean of the linears.
  double fit_ratio = 1, judge_ratio = 1;
};

/// AWQ (arXiv 2306.00978): factors are the root mean squares of the input's channels to the power of alpha,
/// with a geometric mean of 1. Of a grid of alphas that is taken which loses least on `fit` where the codecs
/// encode the scaled rows, if it loses less on `judge` too.
[[nodiscard]] ScaleChoice choose_scales(ThreadPool& pool, const ScaledInput& input);

}  // namespace lissom
