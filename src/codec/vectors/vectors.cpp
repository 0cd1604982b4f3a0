#include "codec/vectors/vectors.h"

#include <algorithm>
#include <array>

#include "base/half.h"

namespace lissom::vectors {

void set_points(Codebook& book, std::span<const float> points) {
  book.points.assign(points.begin(), points.end());
  book.width = points.size() / kPoints;
  book.transposed.resize(points.size());
  for (float& x : book.points) x = half_to_float(float_to_half(std::clamp(x, -65504.0F, 65504.0F)));
  for (size_t k = 0; k < kPoints; ++k)
    for (size_t d = 0; d < book.width; ++d) book.transposed[d * kPoints + k] = book.points[k * book.width + d];
}

uint8_t nearest(const Codebook& book, const float* x, const float* v) {
  std::array<float, kPoints> costs{};
  for (size_t d = 0; d < book.width; ++d) {
    const float* points = &book.transposed[d * kPoints];
    const float at = x[d], weight = v[d];
    for (size_t k = 0; k < kPoints; ++k) costs[k] += weight * ((at - points[k]) * (at - points[k]));
  }
  return static_cast<uint8_t>(std::min_element(costs.begin(), costs.end()) - costs.begin());
}

Codebook fit(const float* x, size_t rows, size_t cols, std::span<const float> importance, size_t width) {
  constexpr size_t kSample = 8192;
  constexpr int kRounds = 12;
  const size_t per_row = cols / width, all = rows * per_row, used = std::min(all, kSample);
  // Places evenly spread, with a step that has no common pattern with the rows.
  const auto place = [&](size_t i) { return used == all ? i : (i * 2654435761ULL) % all; };
  Codebook book;
  std::vector<float> points(kPoints * width);
  for (size_t k = 0; k < kPoints; ++k)
    std::copy_n(x + place(k * used / kPoints) * width, width, &points[k * width]);
  set_points(book, points);
  std::vector<double> sums(points.size()), weights(points.size());
  for (int round = 0; round < kRounds; ++round) {
    std::fill(sums.begin(), sums.end(), 0.0);
    std::fill(weights.begin(), weights.end(), 0.0);
    for (size_t i = 0; i < used; ++i) {
      const size_t at = place(i);
      const float* v = &importance[at % per_row * width];
      const size_t k = nearest(book, x + at * width, v);
      for (size_t d = 0; d < width; ++d) {
        sums[k * width + d] += static_cast<double>(v[d]) * static_cast<double>(x[at * width + d]);
        weights[k * width + d] += static_cast<double>(v[d]);
      }
    }
    for (size_t k = 0; k < kPoints; ++k)
      for (size_t d = 0; d < width; ++d) {
        const size_t at = k * width + d;
        // A point that nothing chose starts again at some vector.
        points[at] = weights[at] > 0 ? static_cast<float>(sums[at] / weights[at])
                                     : x[place((k * 31 + static_cast<size_t>(round) * 977) % used) * width + d];
      }
    // What is zero shall stay so.
    std::fill_n(points.begin(), width, 0.0F);
    set_points(book, points);
  }
  return book;
}

}  // namespace lissom::vectors
