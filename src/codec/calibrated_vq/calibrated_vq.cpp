// calibrated_vq_v1: vectors of four columns, each the sum of two points (of one with :s1, 2 bits) of codebooks
// of 256 that importance-weighted k-means fits to the matrix: 4 bits.
//
//   codes      U8  [stages, rows, cols/4]
//   codebooks  F16 [stages, 256, 4]
//   rows       F16 [rows]
// ŵ = row · (codebooks[0][codes[0]] + codebooks[1][codes[1]])

#include <algorithm>
#include <cmath>

#include "base/threads.h"
#include "codec/builtin.h"
#include "codec/family.h"
#include "codec/int4/int4.h"
#include "codec/vectors/vectors.h"

namespace lissom {

namespace {

using int4::component;
using int4::load_half;

constexpr size_t kWidth = 4, kBook = vectors::kPoints * kWidth;
enum Part { kCodes, kBooks, kRows };

class CalibratedVq final : public Codec {
 public:
  CalibratedVq(std::string name, size_t stages, ErrorInterval interval)
      : name_(std::move(name)), stages_(stages), interval_(interval) {}
  [[nodiscard]] std::string_view name() const override { return name_; }
  [[nodiscard]] int64_t column_multiple() const override { return kWidth; }
  [[nodiscard]] ErrorInterval error_interval() const override { return interval_; }
  [[nodiscard]] float max_magnitude() const override { return 65504.0F; }
  [[nodiscard]] std::vector<Component> components(const Shape& shape) const override {
    const int64_t cols = shape.cols(), rows = cols > 0 ? shape.elements() / cols : 0;
    const auto stages = static_cast<int64_t>(stages_);
    return {component("codes", "U8", Shape{stages, rows, cols / 4}, 1),
            component("codebooks", "F16", Shape{rows > 0 ? stages : 0, 256, 4}, 2),
            component("rows", "F16", Shape{rows}, 2)};
  }
  void encode(const Shape& shape, std::span<const float> weights, std::span<const float> importance,
              std::span<const std::span<std::byte>> parts) const override {
    const auto cols = static_cast<size_t>(shape.cols()), rows = weights.size() / cols, per_row = cols / kWidth;
    const std::vector<float> v = int4::relative_importance(importance, shape.cols());
    std::vector<float> x(weights.begin(), weights.end());
    for (size_t i = 0; i < rows; ++i) {
      double square = 0;
      for (size_t j = 0; j < cols; ++j)
        square += static_cast<double>(x[i * cols + j]) * static_cast<double>(x[i * cols + j]);
      const uint16_t half = float_to_half(static_cast<float>(std::sqrt(square / static_cast<double>(cols))));
      // Below this a scale has too few bits left, and above it a product may not be finite.
      const float scale = half_to_float(half), inverse = scale >= 1e-6F ? 1 / scale : 0;
      store(parts[kRows], i, inverse > 0 ? half : uint16_t{0});
      for (size_t j = 0; j < cols; ++j) x[i * cols + j] *= inverse;
    }
    ThreadPool pool(0);
    for (size_t stage = 0; stage < stages_; ++stage) {
      const vectors::Codebook book = vectors::fit(x.data(), rows, cols, v, kWidth);
      for (size_t i = 0; i < kBook; ++i) store(parts[kBooks], stage * kBook + i, float_to_half(book.points[i]));
      pool.parallel_for(static_cast<int64_t>(rows), 16, [&](int64_t begin, int64_t end, int) {
        for (auto i = static_cast<size_t>(begin) * per_row; i < static_cast<size_t>(end) * per_row; ++i) {
          const uint8_t k = vectors::nearest(book, &x[i * kWidth], &v[i % per_row * kWidth]);
          parts[kCodes][stage * rows * per_row + i] = static_cast<std::byte>(k);
          for (size_t d = 0; d < kWidth; ++d) x[i * kWidth + d] -= book.points[k * kWidth + d];
        }
      });
    }
  }
  void decode_rows(const Shape& shape, std::span<const std::span<const std::byte>> parts, int64_t first,
                   int64_t count, float* out) const override {
    const auto cols = static_cast<size_t>(shape.cols()), per_row = cols / kWidth;
    const size_t vectors_all = static_cast<size_t>(shape.elements()) / kWidth;
    std::vector<float> books(stages_ * kBook);
    for (size_t i = 0; i < books.size(); ++i) books[i] = load_half(parts[kBooks], i);
    for (auto row = static_cast<size_t>(first); row < static_cast<size_t>(first + count); ++row, out += cols) {
      const float scale = load_half(parts[kRows], row);
      for (size_t j = 0; j < cols; ++j) {
        float sum = 0;
        for (size_t stage = 0; stage < stages_; ++stage) {
          const auto k =
              std::to_integer<size_t>(parts[kCodes][stage * vectors_all + row * per_row + j / kWidth]);
          sum += books[stage * kBook + k * kWidth + j % kWidth];
        }
        out[j] = scale * sum;
      }
    }
  }

 private:
  std::string name_;
  size_t stages_;
  ErrorInterval interval_;
};

class CalibratedVqFamily final : public CodecFamily {
 public:
  [[nodiscard]] std::string_view name() const override { return "calibrated_vq_v1"; }
  [[nodiscard]] std::string_view parameters() const override {
    return "s1 … s4 (points that are added, 2 bits each)";
  }
  [[nodiscard]] Result<std::unique_ptr<Codec>> make(std::string_view parameters) const override {
    if (parameters.size() != 2 || parameters[0] != 's' || parameters[1] < '1' || parameters[1] > '4')
      return bad_input("'" + std::string(parameters) + "' is not s1 … s4");
    const auto stages = static_cast<size_t>(parameters[1] - '0');
    return std::make_unique<CalibratedVq>("calibrated_vq_v1:" + std::string(parameters), stages,
                                          ErrorInterval{0.005, 0.5});
  }
};

}  // namespace

const Codec& calibrated_vq_codec() {
  static const CalibratedVq codec("calibrated_vq_v1", 2, {0.06, 0.14});
  return codec;
}
const CodecFamily& calibrated_vq_family() {
  static const CalibratedVqFamily family;
  return family;
}

}  // namespace lissom
