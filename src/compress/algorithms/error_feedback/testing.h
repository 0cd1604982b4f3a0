#pragma once
// For this algorithm's tests.

#include <cstdint>
#include <vector>

#include "compress/algorithms/products.h"
#include "compress/testing.h"

namespace lissom::testing {

/// XᵀX of inputs whose features go together, some of them loud.
inline SquareMatrix coupled_moments(ThreadPool& pool, int64_t n, int64_t tokens, uint64_t seed) {
  std::vector<float> x = gaussian(tokens * n, seed);
  const std::vector<float> mixing = gaussian(n, seed + 1);
  for (int64_t t = 0; t < tokens; ++t) {
    float common = 0;
    for (int64_t c = 0; c < n; ++c) {
      float& v = x[static_cast<size_t>(t * n + c)];
      common = 0.8F * common + v;
      v = common * (c % 17 == 0 ? 4.0F : 1.0F) + mixing[static_cast<size_t>(c)];
    }
  }
  SquareMatrix h(n);
  std::vector<float> packed;
  add_gram(pool, x.data(), nullptr, tokens, h, packed);
  mirror(h);
  return h;
}

}  // namespace lissom::testing
