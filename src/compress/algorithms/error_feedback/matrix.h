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
  std::vector<float> latents;  ///< the compensated weights that `bytes` are rounded from
  /// The error on `judge`, of these bytes and of the search's: Σ over rows, or the whole matrix' where rows are
  /// coupled.
  double judged = 0, plain = 0;
  double damping = 0;         ///< the one that was taken; 0: H was of no use
  int64_t searched_rows = 0;  ///< that are the search's
  bool coupled = false;       ///< by the outputs' moments
};

/// Rounds weights (rows × moments.fit.n) by the codec's own search with `importance` (one value for each
/// column, or empty), and with error feedback; each row is taken from that which loses less on `judge`. Of
/// several dampings (in units of moments.unit) that is taken which loses least on `judge` over some
/// of the rows. One that leaves H indefinite is raised.
///
/// `outputs`: second moments G of the gradients by the matrix' outputs (rows × rows), or empty. With them rows
/// are coupled: the error is tr(G·E·H·Eᵀ) (the Kronecker factors of the Fisher information, Martens and Grosse
/// 2015, arXiv 1503.05671), later rows make up for what rounding earlier ones loses (YAQA, Tseng et al. 2025,
/// arXiv 2505.22988), and the matrix is the search's as a whole, or none of it. Left alone where G is of no
/// use.
[[nodiscard]] FeedbackMatrix feed_back(ThreadPool& pool, const BlockCodec& codec, int64_t rows,
                                       std::span<const float> weights, std::span<const float> importance,
                                       const InputMoments& moments, std::span<const float> outputs,
                                       std::span<const double> dampings, int refinements);

}  // namespace lissom
