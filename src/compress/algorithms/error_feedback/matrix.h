#pragma once
// One matrix: from its second moments to the bytes of its rows.

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "base/threads.h"
#include "compress/algorithms/products.h"
#include "lissom/codec.h"

namespace lissom {

/// Second moments of one input, of what the rounding is made for and of what it is judged by.
struct InputMoments {
  SquareMatrix fit, judge;  ///< whole, not the upper triangle alone
  /// Of dampings: the mean of fit's diagonal without what outlying tokens add to it. 0: the whole mean.
  double unit = 0;
};

struct FeedbackMatrix {
  std::vector<std::byte> bytes;
  std::vector<float> latents;    ///< the compensated weights that `bytes` are rounded from
  double judged = 0, plain = 0;  ///< Σ over rows of the error on `judge`: of these bytes, of the search's
  double damping = 0;            ///< the one that was taken; 0: H was of no use
  int64_t searched_rows = 0;     ///< that are the search's
};

/// Rounds weights (rows × moments.fit.n) by the codec's own search with `importance` (one value for each
/// column, or empty), and with error feedback; each row is taken from that which loses less on `judge`. Of
/// several dampings (in units of moments.unit) that is taken which loses least on `judge` over some
/// of the rows. One that leaves H indefinite is raised.
[[nodiscard]] FeedbackMatrix feed_back(ThreadPool& pool, const BlockCodec& codec, int64_t rows,
                                       std::span<const float> weights, std::span<const float> importance,
                                       const InputMoments& moments, std::span<const double> dampings,
                                       int refinements);

}  // namespace lissom
