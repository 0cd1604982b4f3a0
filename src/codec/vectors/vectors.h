#pragma once
// Codebooks of 256 short vectors, fitted to a matrix whose columns are not equally important.

#include <cstdint>
#include <span>
#include <vector>

namespace lissom::vectors {

inline constexpr size_t kPoints = 256;

/// `width` numbers for each of 256 points, already rounded to F16.
struct Codebook {
  size_t width = 0;
  std::vector<float> points;      ///< [256][width]
  std::vector<float> transposed;  ///< [width][256]
};
void set_points(Codebook& book, std::span<const float> points);

/// Importance-weighted k-means over some of the vectors of a rows × cols matrix cut into vectors of `width`
/// columns; cols divide by it. importance: cols values > 0.
[[nodiscard]] Codebook fit(const float* x, size_t rows, size_t cols, std::span<const float> importance,
                           size_t width);
/// The point with the least Σ v·(x-point)².
[[nodiscard]] uint8_t nearest(const Codebook& book, const float* x, const float* v);

}  // namespace lissom::vectors
