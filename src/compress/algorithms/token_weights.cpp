#include "compress/algorithms/token_weights.h"

#include <algorithm>
#include <cstddef>

namespace lissom {

TokenWeights token_weights(const float* x, int64_t rows, int64_t cols, double limit) {
  std::vector<double> square(static_cast<size_t>(rows));
  for (int64_t r = 0; r < rows; ++r) {
    double sum = 0;
    for (int64_t c = 0; c < cols; ++c) {
      const auto v = static_cast<double>(x[r * cols + c]);
      sum += v * v;
    }
    if (!(sum < 1e30)) return {};
    square[static_cast<size_t>(r)] = sum;
  }
  std::vector<double> sorted = square;
  const auto middle = sorted.begin() + static_cast<ptrdiff_t>(sorted.size() / 2);
  std::nth_element(sorted.begin(), middle, sorted.end());
  const double most = limit * *middle;
  TokenWeights weights{std::vector<float>(square.size(), 1.0F)};
  for (size_t r = 0; r < square.size(); ++r) {
    const bool limited = most > 0 && square[r] > most;  // 0: no limit, or most tokens give nothing at all
    if (limited) weights.rows[r] = static_cast<float>(most / square[r]);
    weights.sum += limited ? most : square[r];
  }
  return weights;
}

}  // namespace lissom
