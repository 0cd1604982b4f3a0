// tenpak_x_v1: W ≈ L·R + codebook[index] + INT4 of the rest. L·R is the best product of rank 8 under the
// columns' importance (subspace iteration on W·diag(√v)); the codebook has 256 vectors of eight columns, by
// k-means on what that leaves over the row's deviation; the rest has groups of 64 with a signed scale.
//
//   left      F16 [rows, 8]        right    F16 [8, cols]
//   rows      F16 [rows]           scale of the codebook in that row
//   codebook  F16 [256, 8]         index    U8  [rows, cols/8]
//   codes     U8  [rows, cols/2]   scales   F16 [rows, cols/64 rounded up]
// ŵ = Σ left·right + row · codebook[index] + scale · (code - 8)

#include <algorithm>
#include <cmath>

#include "base/threads.h"
#include "codec/builtin.h"
#include "codec/int4/expand.h"
#include "codec/int4/int4.h"
#include "codec/vectors/vectors.h"

namespace lissom {

namespace {

using int4::component;
using int4::load_half;

constexpr size_t kRank = 8, kWidth = 8, kGroup = 64;
enum Part { kLeft, kRight, kRowScales, kBook, kIndex, kCodes, kScales };

/// Rows of `m` (count × n), made orthonormal one after the other; what depends on earlier ones becomes zero.
void orthonormalize(std::vector<double>& m, size_t count, size_t n) {
  for (size_t a = 0; a < count; ++a) {
    double* x = &m[a * n];
    double before = 0, square = 0;
    for (size_t j = 0; j < n; ++j) before += x[j] * x[j];
    for (size_t b = 0; b < a; ++b) {
      const double* y = &m[b * n];
      double dot = 0;
      for (size_t j = 0; j < n; ++j) dot += x[j] * y[j];
      for (size_t j = 0; j < n; ++j) x[j] -= dot * y[j];
    }
    for (size_t j = 0; j < n; ++j) square += x[j] * x[j];
    const double factor = square > 1e-12 * before && square > 0 ? 1 / std::sqrt(square) : 0;
    for (size_t j = 0; j < n; ++j) x[j] *= factor;
  }
}

/// right: kRank × cols, left: rows × kRank, of the matrix w.
void low_rank(const float* w, size_t rows, size_t cols, const std::vector<float>& v, std::vector<float>& left,
              std::vector<float>& right) {
  std::vector<double> root(cols), space(kRank * cols), next(kRank * cols);
  for (size_t j = 0; j < cols; ++j) root[j] = std::sqrt(static_cast<double>(v[j]));
  uint64_t state = 1;
  for (double& x : space) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    x = static_cast<double>(state >> 40) / 16777216.0 - 0.5;
  }
  orthonormalize(space, kRank, cols);
  double largest = 0;
  for (size_t i = 0; i < rows * cols; ++i) largest = std::max(largest, static_cast<double>(std::fabs(w[i])));
  const double unit = largest > 0 ? 1 / largest : 0;
  std::vector<double> row(cols);
  for (int round = 0; round < 4; ++round) {
    std::fill(next.begin(), next.end(), 0.0);
    for (size_t i = 0; i < rows; ++i) {
      for (size_t j = 0; j < cols; ++j) row[j] = static_cast<double>(w[i * cols + j]) * unit * root[j];
      for (size_t r = 0; r < kRank; ++r) {
        double dot = 0;
        for (size_t j = 0; j < cols; ++j) dot += row[j] * space[r * cols + j];
        for (size_t j = 0; j < cols; ++j) next[r * cols + j] += dot * row[j];
      }
    }
    space = next;
    orthonormalize(space, kRank, cols);
  }
  // The columns of L: an orthonormal basis of W·diag(√v)·spaceᵀ. R = Lᵀ·W is then the best for every column,
  // whatever its importance, and leaves no column larger than it was.
  std::vector<double> basis(kRank * rows, 0);
  for (size_t r = 0; r < kRank; ++r)
    for (size_t i = 0; i < rows; ++i) {
      double dot = 0;
      for (size_t j = 0; j < cols; ++j)
        dot += static_cast<double>(w[i * cols + j]) * unit * root[j] * space[r * cols + j];
      basis[r * rows + i] = dot;
    }
  orthonormalize(basis, kRank, rows);
  left.assign(rows * kRank, 0.0F);
  right.assign(kRank * cols, 0.0F);
  std::vector<double> sums(cols);
  for (size_t r = 0; r < kRank; ++r) {
    std::fill(sums.begin(), sums.end(), 0.0);
    for (size_t i = 0; i < rows; ++i)
      for (size_t j = 0; j < cols; ++j) sums[j] += basis[r * rows + i] * static_cast<double>(w[i * cols + j]);
    double peak = 0;
    for (double x : sums) peak = std::max(peak, std::fabs(x));
    if (!(peak > 0)) continue;
    for (size_t j = 0; j < cols; ++j)
      right[r * cols + j] = half_to_float(float_to_half(static_cast<float>(sums[j] / peak)));
    for (size_t i = 0; i < rows; ++i)
      left[i * kRank + r] = half_to_float(
          float_to_half(static_cast<float>(std::clamp(basis[r * rows + i] * peak, -65504.0, 65504.0))));
  }
}

float product(const float* left, const float* right, size_t cols, size_t j) {
  float sum = 0;
  for (size_t r = 0; r < kRank; ++r) sum += left[r] * right[r * cols + j];
  return sum;
}

class TenpakX final : public Codec {
 public:
  [[nodiscard]] std::string_view name() const override { return "tenpak_x_v1"; }
  [[nodiscard]] int64_t column_multiple() const override { return 8; }
  [[nodiscard]] ErrorInterval error_interval() const override { return {0.02, 0.1}; }
  [[nodiscard]] float max_magnitude() const override { return 32752.0F; }
  [[nodiscard]] std::vector<Component> components(const Shape& shape) const override {
    const int64_t cols = shape.cols(), rows = cols > 0 ? shape.elements() / cols : 0, some = rows > 0 ? 1 : 0;
    return {component("left", "F16", Shape{rows, 8}, 2),
            component("right", "F16", Shape{8 * some, cols}, 2),
            component("rows", "F16", Shape{rows}, 2),
            component("codebook", "F16", Shape{256 * some, 8}, 2),
            component("index", "U8", Shape{rows, cols / 8}, 1),
            component("codes", "U8", Shape{rows, cols / 2}, 1),
            component("scales", "F16", Shape{rows, (cols + 63) / 64}, 2)};
  }
  void encode(const Shape& shape, std::span<const float> weights, std::span<const float> importance,
              std::span<const std::span<std::byte>> parts) const override {
    const auto cols = static_cast<size_t>(shape.cols()), rows = weights.size() / cols, per_row = cols / kWidth;
    const std::vector<float> v = int4::relative_importance(importance, shape.cols());
    std::vector<float> left, right, x(weights.begin(), weights.end());
    low_rank(weights.data(), rows, cols, v, left, right);
    for (size_t i = 0; i < rows; ++i) {
      // F16 has too few bits down there for sums of products.
      float largest = 0;
      for (size_t j = 0; j < cols; ++j) largest = std::max(largest, std::fabs(x[i * cols + j]));
      if (largest < 1e-4F) std::fill_n(left.begin() + static_cast<std::ptrdiff_t>(i * kRank), kRank, 0.0F);
    }
    for (size_t i = 0; i < left.size(); ++i) store(parts[kLeft], i, float_to_half(left[i]));
    for (size_t i = 0; i < right.size(); ++i) store(parts[kRight], i, float_to_half(right[i]));
    for (size_t i = 0; i < rows; ++i) {
      double square = 0;
      for (size_t j = 0; j < cols; ++j) {
        x[i * cols + j] -= product(&left[i * kRank], right.data(), cols, j);
        square += static_cast<double>(x[i * cols + j]) * static_cast<double>(x[i * cols + j]);
      }
      const uint16_t half = float_to_half(static_cast<float>(std::sqrt(square / static_cast<double>(cols))));
      const bool fine = half_to_float(half) >= 1e-5F && half_to_float(half) < 65504;
      store(parts[kRowScales], i, fine ? half : uint16_t{0});
    }
    std::vector<float> scaled(x.size(), 0.0F);
    for (size_t i = 0; i < rows; ++i)
      if (const float scale = load_half(parts[kRowScales], i); scale > 0)
        for (size_t j = i * cols; j < (i + 1) * cols; ++j) scaled[j] = x[j] / scale;
    // Equal weights: what follows is a group with one scale, which the columns that a weighted codebook
    // neglects would set (measured: more weighted error than with no importance at all).
    const std::vector<float> equal(cols, 1.0F);
    const vectors::Codebook book = vectors::fit(scaled.data(), rows, cols, equal, kWidth);
    for (size_t i = 0; i < book.points.size(); ++i) store(parts[kBook], i, float_to_half(book.points[i]));
    const size_t groups = (cols + kGroup - 1) / kGroup;
    ThreadPool pool(0);
    pool.parallel_for(static_cast<int64_t>(rows), 16, [&](int64_t begin, int64_t end, int) {
      std::array<uint8_t, kGroup> codes{};
      for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
        const float scale = load_half(parts[kRowScales], i);
        for (size_t c = 0; c < per_row; ++c) {
          const uint8_t k = vectors::nearest(book, &scaled[i * cols + c * kWidth], &equal[c * kWidth]);
          parts[kIndex][i * per_row + c] = static_cast<std::byte>(k);
          for (size_t d = 0; d < kWidth; ++d)
            x[i * cols + c * kWidth + d] -= scale * book.points[k * kWidth + d];
        }
        for (size_t g = 0; g < groups; ++g) {
          const size_t first = g * kGroup, n = std::min(kGroup, cols - first);
          const int4::Fit fit = int4::fit_group(&x[i * cols + first], &v[first], n, 4, false, 5, codes.data());
          store(parts[kScales], i * groups + g, fit.scale);
          for (size_t j = 0; j < n; j += 2)
            parts[kCodes][(i * cols + first + j) / 2] = static_cast<std::byte>(codes[j] | codes[j + 1] << 4);
        }
      }
    });
  }
  void decode_rows(const Shape& shape, std::span<const std::span<const std::byte>> parts, int64_t first,
                   int64_t count, float* out) const override {
    const int4::Expanders& expand = int4::expanders();
    const auto cols = static_cast<size_t>(shape.cols()), groups = (cols + kGroup - 1) / kGroup;
    const auto* codes = reinterpret_cast<const uint8_t*>(parts[kCodes].data());
    std::vector<float> right(kRank * cols), book(vectors::kPoints * kWidth), scales(groups), offsets(groups),
        rest(cols);
    expand.halves(parts[kRight].data(), right.size(), right.data());
    expand.halves(parts[kBook].data(), book.size(), book.data());
    for (auto row = static_cast<size_t>(first); row < static_cast<size_t>(first + count); ++row, out += cols) {
      std::fill(out, out + cols, 0.0F);
      for (size_t r = 0; r < kRank; ++r)
        expand.add(load_half(parts[kLeft], row * kRank + r), &right[r * cols], cols, out);
      const float scale = load_half(parts[kRowScales], row);
      for (size_t j = 0; j < cols; j += kWidth) {
        const float* point = &book[std::to_integer<size_t>(parts[kIndex][(row * cols + j) / kWidth]) * kWidth];
        for (size_t d = 0; d < kWidth; ++d) out[j + d] += scale * point[d];
      }
      expand.halves(parts[kScales].data() + row * groups * sizeof(uint16_t), groups, scales.data());
      for (size_t g = 0; g < groups; ++g) offsets[g] = -8 * scales[g];
      expand.lines({codes + row * cols / 2, cols, kGroup, scales.data(), offsets.data()}, rest.data());
      expand.add(1, rest.data(), cols, out);
    }
  }
};

}  // namespace

const Codec& tenpak_x_codec() {
  static const TenpakX codec;
  return codec;
}

}  // namespace lissom
