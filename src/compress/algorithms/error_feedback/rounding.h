#pragma once
// Rounds a matrix into a codec's grid so that the error of its *outputs* is small: each block's parameters are
// chosen for weights that make up for the errors before them, and what rounding loses is handed on to the
// columns that are not rounded yet. Then every block is looked at again with all others as they are.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/threads.h"
#include "compress/algorithms/error_feedback/factor.h"
#include "compress/algorithms/products.h"
#include "lissom/codec.h"

namespace lissom {

struct RoundingOptions {
  /// Times that a block's parameters are chosen anew for the weights that were rounded the time before.
  int parameter_rounds = 2;
  /// Passes of block coordinate descent on the whole error after the pass with feedback.
  int refinements = 2;
};

/// What the rounding of every row shares: the factors of H + damping·I, as a whole and block by block.
class FeedbackMetric {
 public:
  /// False where H + damping·I is not positive definite. `h` outlives it.
  [[nodiscard]] bool prepare(ThreadPool& pool, const SquareMatrix& h, float damping, const BlockCodec& codec);

  /// What is left of the curvature of each run of round_width() columns when all later columns make up for it:
  /// width × width values, their diagonal, and each row's sum of magnitudes. Of width 1: one value thrice.
  struct Vectors {
    std::vector<float> metric, diagonal, bound;
  };

  const SquareMatrix* h = nullptr;
  float damping = 0;
  Factor factor;
  std::vector<float> part_a, part_d;  ///< the parts' factors, block × block and block values each
  Vectors vectors, part_vectors;      ///< of the whole factor, and of the parts'
  std::vector<float> diagonal;        ///< of H + damping·I
};

/// Rounds target (rows × h.n) to out, the bytes of consecutive rows. Minimises
/// Σ_rows (target - ŵ)·(H + damping·I)·(target - ŵ)ᵀ. `start`: the bytes of another rounding, or null; a row
/// for which that is better than the pass with feedback begins its refinement there. With an H that is a
/// multiple of I, options 1 and 0 and no start, the bytes are those of encode_blocks() with equal importances.
/// `latent` (rows × h.n, or null): the compensated weights, each of which `out` has the nearest value to.
void round_with_feedback(ThreadPool& pool, const BlockCodec& codec, int64_t rows, const float* target,
                         const FeedbackMetric& metric, const RoundingOptions& options, const std::byte* start,
                         std::byte* out, float* latent = nullptr);

}  // namespace lissom
