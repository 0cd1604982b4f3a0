#pragma once
// The best approximation of a matrix by one of lower rank, for inputs of known second moments: whitened SVD
// (SVD-LLM, Wang et al. 2024, arXiv 2403.07378; with a diagonal alone ASVD, arXiv 2312.05821).

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "codec/statistics.h"

namespace lissom {

/// W ≈ left · right; each column of left has the norm of its row of right.
struct RankFactors {
  int64_t rank = 0;
  std::vector<float> left;   ///< rows × rank
  std::vector<float> right;  ///< rank × cols
};

/// For inputs x with Σ x·xᵀ = H, the loss of an approximation V is ‖(W - V)·H^½‖². With C·Cᵀ = H, its minimum
/// among matrices of rank r is the projection of W on the first r left singular vectors of W·C: H is never
/// inverted. Costs a symmetric eigenproblem of the smaller side, in double; the same bytes on every machine.
class RankFactorization {
 public:
  /// w: rows × cols, finite. Without statistics it is the plain SVD. All references live as long as it.
  RankFactorization(std::span<const float> w, int64_t rows, int64_t cols, const InputStatistics& statistics);
  ~RankFactorization();
  RankFactorization(const RankFactorization&) = delete;
  RankFactorization& operator=(const RankFactorization&) = delete;

  /// The squares of W·C's singular values, largest first: what each rank takes off the loss. min(rows, cols).
  [[nodiscard]] std::span<const double> energies() const;
  /// (R·C)·(R·C)ᵀ of some rows of weights, rank × cols: rank × rank.
  [[nodiscard]] std::vector<double> products(std::span<const float> right, int64_t rank) const;
  /// 1 ≤ rank ≤ min(rows, cols).
  [[nodiscard]] RankFactors factors(int64_t rank) const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace lissom
