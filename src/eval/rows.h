#pragma once
// What one row of logits says, and how far two rows are apart. The vocabulary is long (10^4 … 10^5) and there
// are many rows, so this is vectorised, for every target from one source; it gives the same bits on all of
// them.

#include <cstdint>

#include "kernels/kernels.h"

namespace lissom {

struct RowScore {
  double nll = 0;                 ///< -ln softmax(model)[token], nats
  double nll_base = 0;            ///< the same of the base
  double kld = 0;                 ///< Σ softmax(base)·(ln softmax(base) - ln softmax(model)), nats, ≥ 0
  int32_t top = 0, top_base = 0;  ///< most likely token; the lowest of equals
  bool finite = true;             ///< false: a logit was not finite, the rest means nothing
};

/// One row of the model under test. `n` > 0 logits, 0 ≤ token < n.
[[nodiscard]] RowScore score_row(Target target, const float* logits, int64_t n, int32_t token);
/// A row of each.
[[nodiscard]] RowScore score_rows(Target target, const float* logits, const float* base, int64_t n,
                                  int32_t token);

}  // namespace lissom
