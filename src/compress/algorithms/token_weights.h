#pragma once
// What keeps a few tokens from owning the second moments of all.

#include <cstdint>
#include <vector>

namespace lissom {

/// The weight of each row of x (rows × cols), so that no row's square counts more than `limit` times the
/// median's (attention sinks' are a thousand times larger); 0: no limit. Empty: x is not finite.
[[nodiscard]] std::vector<float> token_weights(const float* x, int64_t rows, int64_t cols, double limit);

}  // namespace lissom
