#pragma once
// What keeps a few tokens from owning the second moments of all.

#include <cstdint>
#include <vector>

namespace lissom {

struct TokenWeights {
  std::vector<float> rows;  ///< empty: x is not finite
  double sum = 0;           ///< of the squares, so weighted
};
/// The weight of each row of x (rows × cols), so that no row's square counts more than `limit` times the
/// median's (attention sinks' are up to a hundred thousand times larger); 0: no limit.
[[nodiscard]] TokenWeights token_weights(const float* x, int64_t rows, int64_t cols, double limit);

}  // namespace lissom
