#pragma once
// Orthogonal matrices that are cheap to apply.

#include <cstdint>
#include <vector>

namespace lissom {

/// x becomes x·D·(H ⊗ Q): D random signs, H the Hadamard matrix of the largest power of two in n, scaled to be
/// orthogonal, Q a random orthogonal matrix of what is left of n (QuIP#, arXiv 2402.04396; QuaRot, arXiv
/// 2404.00456). The same for the same n and seed. n > 0.
class Rotation {
 public:
  Rotation(int64_t n, uint64_t seed);
  [[nodiscard]] int64_t size() const { return n_; }
  /// Each run of size() values of each row: values is rows × cols, cols a multiple of size().
  void turn_columns(float* values, int64_t rows, int64_t cols) const;
  /// The same of columns: rows is a multiple of size().
  void turn_rows(float* values, int64_t rows, int64_t cols) const;

 private:
  /// n vectors of `width` values, `stride` apart, as the n values that they are of `width` inputs at once.
  void turn(float* first, int64_t stride, int64_t width, std::vector<float>& scratch) const;

  int64_t n_, power_, rest_;
  std::vector<float> signs_;  ///< n, with H's factor 1/√power
  std::vector<float> q_;      ///< rest × rest, row by row
};

}  // namespace lissom
