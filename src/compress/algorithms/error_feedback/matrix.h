#pragma once
// One matrix: from its second moments to the bytes of its rows.

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "base/threads.h"
#include "compress/algorithms/error_feedback/products.h"
#include "lissom/codec.h"

namespace lissom {

/// Second moments of one input, of what the rounding is made for and of what it is judged by.
struct InputMoments {
  SquareMatrix fit, judge;  ///< whole, not the upper triangle alone
};

struct FeedbackMatrix {
  std::vector<std::byte> bytes;
  double judged = 0, plain = 0;  ///< Σ over rows of the error on `judge`: of these bytes, of the search's
  std::vector<int64_t> rows_of;  ///< rows that come from the search, then from each damping
};

/// Rounds weights (rows × moments.fit.n) by the codec's own search with `importance` (one value for each
/// column, or empty), and with error feedback for each of the dampings (in units of the mean of the diagonal);
/// each row is taken from that which loses least on `judge`. A damping that leaves H indefinite is raised.
[[nodiscard]] FeedbackMatrix feed_back(ThreadPool& pool, const BlockCodec& codec, int64_t rows,
                                       std::span<const float> weights, std::span<const float> importance,
                                       const InputMoments& moments, std::span<const double> dampings,
                                       int refinements);

}  // namespace lissom
