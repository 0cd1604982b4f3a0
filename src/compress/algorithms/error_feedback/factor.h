#pragma once
// H = A·D·Aᵀ with A upper triangular of unit diagonal and D diagonal: what the errors of the columns that are
// rounded already ask of those that are not (the "LDLQ" of Chee et al. 2023, arXiv 2307.13304, which they show
// to be GPTQ's rule without its inverse, arXiv 2210.17323).

#include <vector>

#include "base/threads.h"
#include "compress/algorithms/products.h"

namespace lissom {

struct Factor {
  SquareMatrix a;        ///< row j: what column j's error adds to each later column; 1 at j, 0 before
  std::vector<float> d;  ///< what is left of each column's curvature when all later columns make up for it
};

/// Of H + damping·I. False where that is not positive definite in F32.
[[nodiscard]] bool factorise(ThreadPool& pool, const SquareMatrix& h, float damping, Factor& out);

/// The same of `size` ≤ 256 consecutive columns on their own, beginning at `first`; a: size × size.
[[nodiscard]] bool factorise_part(const SquareMatrix& h, float damping, int64_t first, int64_t size, float* a,
                                  float* d);

}  // namespace lissom
