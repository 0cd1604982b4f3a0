// calibrated_vq_v1: vectors of four columns, each the sum of two points (of one with :s1, 2 bits) of codebooks
// of 256 that importance-weighted k-means fits to the matrix: 4 bits.
//
//   codes      U8  [stages, rows, cols/4]
//   codebooks  F16 [stages, 256, 4]
//   rows       F16 [rows]
// ŵ = row · (codebooks[0][codes[0]] + codebooks[1][codes[1]])

#include <algorithm>
#include <array>
#include <cmath>

#include "base/threads.h"
#include "codec/builtin.h"
#include "codec/family.h"
#include "codec/int4/expand.h"
#include "codec/int4/int4.h"
#include "codec/vectors/vectors.h"

namespace lissom {

namespace {

using int4::component;
using int4::load_half;

constexpr size_t kWidth = 4, kBook = vectors::kPoints * kWidth;
enum Part { kCodes, kBooks, kRows };

class CalibratedVq final : public Codec, public FeedbackCodec {
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
    encode_stages(weights, int4::relative_importance(importance, shape.cols()), parts);
  }
  [[nodiscard]] int feedback_width() const override { return kWidth; }
  /// Codebooks and scales of rows as they are without feedback. What later columns cannot make up for of a
  /// vector's error e is e·S·eᵀ with S not diagonal: the points are turned so that the nearest is that of S.
  void encode_fed(const Shape& shape, std::span<const float> weights, const ColumnFeedback& feedback,
                  std::span<const std::span<std::byte>> parts) const override {
    const Books books = encode_stages(weights, int4::relative_importance(feedback.d, shape.cols()), parts);
    std::vector<Turned> turned;
    for (int64_t column = 0; column < shape.cols(); column += kWidth)
      turned.emplace_back(feedback, column, books);
    const auto cols = static_cast<size_t>(shape.cols()), rows = weights.size() / cols;
    ThreadPool pool(0);
    pool.parallel_for(static_cast<int64_t>(rows), 16, [&](int64_t begin, int64_t end, int) {
      for (auto row = static_cast<size_t>(begin); row < static_cast<size_t>(end); ++row)
        encode_row_fed(books, turned, weights.subspan(row * cols, cols), row, feedback, parts);
    });
  }
  void decode_rows(const Shape& shape, std::span<const std::span<const std::byte>> parts, int64_t first,
                   int64_t count, float* out) const override {
    const auto cols = static_cast<size_t>(shape.cols()), per_row = cols / kWidth;
    const size_t vectors_all = static_cast<size_t>(shape.elements()) / kWidth;
    std::vector<float> books(stages_ * kBook);
    int4::expanders().halves(parts[kBooks].data(), books.size(), books.data());
    const auto* codes = reinterpret_cast<const uint8_t*>(parts[kCodes].data());
    for (auto row = static_cast<size_t>(first); row < static_cast<size_t>(first + count); ++row, out += cols) {
      const float scale = load_half(parts[kRows], row);
      for (size_t i = 0; i < per_row; ++i) {
        std::array<float, kWidth> sum{};
        for (size_t stage = 0; stage < stages_; ++stage) {
          const float* point = &books[stage * kBook + codes[stage * vectors_all + row * per_row + i] * kWidth];
          for (size_t d = 0; d < kWidth; ++d) sum[d] += point[d];
        }
        for (size_t d = 0; d < kWidth; ++d) out[i * kWidth + d] = scale * sum[d];
      }
    }
  }

 private:
  using Books = std::vector<vectors::Codebook>;  ///< of the stages

  Books encode_stages(std::span<const float> weights, const std::vector<float>& v,
                      std::span<const std::span<std::byte>> parts) const {
    const size_t cols = v.size(), rows = weights.size() / cols, per_row = cols / kWidth;
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
    Books books;
    ThreadPool pool(0);
    for (size_t stage = 0; stage < stages_; ++stage) {
      const vectors::Codebook& book = books.emplace_back(vectors::fit(x.data(), rows, cols, v, kWidth));
      for (size_t i = 0; i < kBook; ++i) store(parts[kBooks], stage * kBook + i, float_to_half(book.points[i]));
      pool.parallel_for(static_cast<int64_t>(rows), 16, [&](int64_t begin, int64_t end, int) {
        for (auto i = static_cast<size_t>(begin) * per_row; i < static_cast<size_t>(end) * per_row; ++i) {
          const uint8_t k = vectors::nearest(book, &x[i * kWidth], &v[i % per_row * kWidth]);
          parts[kCodes][stage * rows * per_row + i] = static_cast<std::byte>(k);
          for (size_t d = 0; d < kWidth; ++d) x[i * kWidth + d] -= book.points[k * kWidth + d];
        }
      });
    }
    return books;
  }

  /// The codebooks as the metric of the vector at `first` sees them: e·S·eᵀ = |turn(e)|².
  struct Turned {
    Turned(const ColumnFeedback& feedback, int64_t first, const Books& originals) {
      for (size_t c = 0; c < kWidth; ++c) {
        const auto column = static_cast<size_t>(first) + c;
        for (size_t d = 0; d <= c; ++d) {
          const float a =
              d == c
                  ? 1
                  : feedback
                        .a[(first + static_cast<int64_t>(d)) * feedback.stride + static_cast<int64_t>(column)];
          by[d][c] = a * std::sqrt(feedback.d[column]);
        }
      }
      for (const vectors::Codebook& original : originals) {
        vectors::Codebook& book = books.emplace_back();
        book.width = kWidth;
        book.transposed.resize(kBook);
        for (size_t k = 0; k < vectors::kPoints; ++k) {
          const auto point = turn(&original.points[k * kWidth]);
          for (size_t c = 0; c < kWidth; ++c) book.transposed[c * vectors::kPoints + k] = point[c];
        }
      }
    }
    std::array<float, kWidth> turn(const float* x) const {
      std::array<float, kWidth> out{};
      for (size_t d = 0; d < kWidth; ++d)
        for (size_t c = d; c < kWidth; ++c) out[c] += x[d] * by[d][c];
      return out;
    }
    std::array<std::array<float, kWidth>, kWidth> by{};
    Books books = {};
  };

  void encode_row_fed(const Books& books, const std::vector<Turned>& turned, std::span<const float> w,
                      size_t row, const ColumnFeedback& feedback,
                      std::span<const std::span<std::byte>> parts) const {
    constexpr std::array<float, kWidth> kEqual{1, 1, 1, 1};
    const size_t per_row = w.size() / kWidth, vectors_all = parts[kCodes].size() / stages_;
    const float scale = load_half(parts[kRows], row);
    std::vector<float> targets(w.begin(), w.end());
    for (size_t at = 0; at < per_row; ++at) {
      std::array<float, kWidth> x{}, kept{};
      for (size_t d = 0; d < kWidth; ++d) x[d] = scale > 0 ? targets[at * kWidth + d] / scale : 0;
      for (size_t stage = 0; stage < stages_; ++stage) {
        const auto seen = turned[at].turn(x.data());
        const uint8_t k = vectors::nearest(turned[at].books[stage], seen.data(), kEqual.data());
        parts[kCodes][stage * vectors_all + row * per_row + at] = static_cast<std::byte>(k);
        for (size_t d = 0; d < kWidth; ++d) {
          x[d] -= books[stage].points[k * kWidth + d];
          kept[d] += books[stage].points[k * kWidth + d];
        }
      }
      for (size_t d = 0; d < kWidth; ++d)
        feedback.hand_on(static_cast<int64_t>(at * kWidth + d), w[at * kWidth + d] - scale * kept[d],
                         targets.data(), feedback.cols());
    }
  }

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
