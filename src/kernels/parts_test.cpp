// Matrices of codecs with several components, and products of two factors, held to the weights that they decode
// to, on shapes that fill neither a panel nor a tile.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "base/half.h"
#include "codec/equivalent.h"
#include "codec/parts.h"
#include "kernels/kernels.h"

namespace lissom::kernels {
namespace {

std::vector<float> gaussian(int64_t n, uint32_t seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal(0.0F, 1.0F);
  std::vector<float> v(static_cast<size_t>(n));
  for (float& x : v) x = normal(rng);
  return v;
}

/// Signed bytes with a scale for each row and one for the whole: rows cannot be cut out of the last.
class TwoScales final : public Codec {
 public:
  [[nodiscard]] std::string_view name() const override { return "TOY_TWO_SCALES"; }
  [[nodiscard]] int64_t column_multiple() const override { return 1; }
  [[nodiscard]] ErrorInterval error_interval() const override { return {0, 1}; }
  [[nodiscard]] float max_magnitude() const override { return 65504.0F; }
  [[nodiscard]] std::vector<Component> components(const Shape& shape) const override {
    const auto rows = static_cast<uint64_t>(shape.rows());
    return {{"whole", "F32", Shape{1}, 4},
            {"codes", "I8", shape, static_cast<uint64_t>(shape.elements())},
            {"rows", "F16", Shape{shape.rows()}, 2 * rows}};
  }
  void encode(const Shape& shape, std::span<const float> weights, std::span<const float>,
              std::span<const std::span<std::byte>> parts) const override {
    const float whole = 0.5F;
    std::memcpy(parts[0].data(), &whole, 4);
    for (int64_t r = 0; r < shape.rows(); ++r) {
      float most = 0;
      for (int64_t c = 0; c < shape.cols(); ++c)
        most = std::max(most, std::fabs(weights[static_cast<size_t>(r * shape.cols() + c)]));
      const uint16_t half = float_to_half(most / 127 / whole);
      std::memcpy(parts[2].data() + 2 * r, &half, 2);
      const float scale = half_to_float(half) * whole;
      for (int64_t c = 0; c < shape.cols(); ++c) {
        const auto at = static_cast<size_t>(r * shape.cols() + c);
        parts[1][at] = static_cast<std::byte>(
            static_cast<int8_t>(std::clamp(std::nearbyint(weights[at] / scale), -127.0F, 127.0F)));
      }
    }
  }
  void decode_rows(const Shape& shape, std::span<const std::span<const std::byte>> parts, int64_t first,
                   int64_t count, float* out) const override {
    float whole;
    std::memcpy(&whole, parts[0].data(), 4);
    for (int64_t r = first; r < first + count; ++r) {
      uint16_t half;
      std::memcpy(&half, parts[2].data() + 2 * r, 2);
      for (int64_t c = 0; c < shape.cols(); ++c)
        *out++ = whole * half_to_float(half) *
                 static_cast<float>(static_cast<int8_t>(parts[1][static_cast<size_t>(r * shape.cols() + c)]));
    }
  }
};

/// Four bits in groups of 64, with a scale and an offset: Q4_1 in two blocks.
class Groups final : public Codec, public EquivalentCodec {
 public:
  [[nodiscard]] std::string_view name() const override { return "TOY_GROUPS"; }
  [[nodiscard]] int64_t column_multiple() const override { return 64; }
  [[nodiscard]] ErrorInterval error_interval() const override { return {0, 1}; }
  [[nodiscard]] float max_magnitude() const override { return 65504.0F; }
  [[nodiscard]] std::vector<Component> components(const Shape& shape) const override {
    const int64_t groups = shape.cols() / 64;
    return {{"codes", "U8", shape, static_cast<uint64_t>(shape.elements())},
            {"grid", "F16", Shape{shape.rows(), groups, 2}, static_cast<uint64_t>(shape.rows() * groups * 4)}};
  }
  void encode(const Shape& shape, std::span<const float> weights, std::span<const float>,
              std::span<const std::span<std::byte>> parts) const override {
    for (int64_t g = 0; g < shape.elements() / 64; ++g) {
      const auto w = weights.subspan(static_cast<size_t>(g * 64), 64);
      const auto [low, high] = std::ranges::minmax_element(w);
      const uint16_t grid[2] = {float_to_half((*high - *low) / 15), float_to_half(*low)};
      std::memcpy(parts[1].data() + 4 * g, grid, 4);
      const float scale = half_to_float(grid[0]), offset = half_to_float(grid[1]);
      for (size_t i = 0; i < 64; ++i)
        parts[0][static_cast<size_t>(g * 64) + i] = static_cast<std::byte>(
            static_cast<uint8_t>(std::clamp(std::nearbyint((w[i] - offset) / scale), 0.0F, 15.0F)));
    }
  }
  void decode_rows(const Shape& shape, std::span<const std::span<const std::byte>> parts, int64_t first,
                   int64_t count, float* out) const override {
    for (int64_t i = first * shape.cols(); i < (first + count) * shape.cols(); ++i) {
      uint16_t grid[2];
      std::memcpy(grid, parts[1].data() + i / 64 * 4, 4);
      const auto code = static_cast<float>(static_cast<int>(parts[0][static_cast<size_t>(i)]));
      *out++ = half_to_float(grid[0]) * code + half_to_float(grid[1]);
    }
  }
  [[nodiscard]] const Codec* equivalent(const Shape&) const override { return find_codec("Q4_1"); }
  void write_equivalent(const Shape& shape, std::span<const std::span<const std::byte>> parts,
                        std::span<std::byte> out) const override {
    for (int64_t b = 0; b < shape.elements() / 32; ++b) {
      std::byte* block = out.data() + b * 20;  // d, m, sixteen pairs: i and i + 16
      std::memcpy(block, parts[1].data() + b / 2 * 4, 4);
      const std::byte* codes = parts[0].data() + b * 32;
      for (int64_t i = 0; i < 16; ++i) block[4 + i] = codes[i] | codes[i + 16] << 4;
    }
  }
};

struct Stored {
  std::vector<std::byte> data;  ///< as codec/parts.h lays it out
  std::vector<float> decoded;
};

Stored store(const Codec& codec, const Shape& shape, const std::vector<float>& weights) {
  auto parts = encode_checked(codec, "w", shape, weights, {});
  EXPECT_TRUE(parts) << (parts ? "" : parts.error().message);
  Stored s{join_parts(codec, shape, *parts), std::vector<float>(weights.size())};
  codec.decode_rows(shape, *parts_of(codec, shape, s.data), 0, shape.rows(), s.decoded.data());
  return s;
}

/// Largest difference from the product with the decoded weights, in deviations of a sum of that many terms.
double difference(const PackedMatrix& matrix, Target target, const float* decoded, int64_t m, ThreadPool& pool,
                  bool with_bias) {
  const int64_t rows = matrix.rows(), cols = matrix.cols();
  const auto x = gaussian(m * cols, 11), bias = gaussian(rows, 12);
  std::vector<float> y(static_cast<size_t>(m * rows)), other(y);
  std::vector<std::byte> scratch;
  // Beside another term of the same input.
  const MatmulTerm terms[] = {{&matrix, with_bias ? bias.data() : nullptr, y.data()},
                              {&matrix, nullptr, other.data()}};
  matmul(target, pool, terms, x.data(), m, scratch);
  double worst = 0, power = 0;
  for (int64_t i = 0; i < rows * cols; ++i) power += double{decoded[i]} * double{decoded[i]};
  const double unit = std::sqrt(power / static_cast<double>(rows)) + 1e-30;
  for (int64_t t = 0; t < m; ++t)
    for (int64_t r = 0; r < rows; ++r) {
      double sum = 0;
      for (int64_t c = 0; c < cols; ++c)
        sum += double{decoded[r * cols + c]} * double{x[static_cast<size_t>(t * cols + c)]};
      const auto at = static_cast<size_t>(t * rows + r);
      worst = std::max(worst, std::fabs(sum - double{other[at]}) / unit);
      if (with_bias) sum += double{bias[static_cast<size_t>(r)]};
      worst = std::max(worst, std::fabs(sum - double{y[at]}) / unit);
    }
  return worst;
}

TEST(Parts, AMatrixOfSeveralComponentsIsTheOneThatItDecodesTo) {
  const TwoScales codec;
  ThreadPool pool(2);
  for (const Target target : supported_targets())
    for (const Shape& shape : {Shape{1, 1}, Shape{15, 33}, Shape{16, 64}, Shape{37, 100}}) {
      const Stored s = store(codec, shape, gaussian(shape.elements(), 3));
      auto matrix = PackedMatrix::pack(target, codec, shape[0], shape[1], s.data, nullptr, pool);
      ASSERT_TRUE(matrix) << matrix.error().message;
      EXPECT_FALSE((*matrix)->repacked());
      EXPECT_EQ((*matrix)->bytes(), PackedMatrix::packed_bytes(codec, shape[0], shape[1]));
      for (const int64_t m : {1, 2, 5, 30})
        EXPECT_LT(difference(**matrix, target, s.decoded.data(), m, pool, m != 2), 2e-5) << shape.str() << m;
      std::vector<float> row(static_cast<size_t>(shape[1]));
      (*matrix)->row(shape[0] - 1, row.data());
      EXPECT_TRUE(std::equal(row.begin(), row.end(), s.decoded.end() - shape[1]));
    }
}

TEST(Parts, RowsOfALargerTensor) {
  const TwoScales codec;
  ThreadPool pool(2);
  const Shape whole{3, 20, 40};
  const Stored s = store(codec, whole, gaussian(whole.elements(), 4));
  const Target target = *active_target();
  for (int64_t e = 0; e < 3; ++e) {
    auto matrix = PackedMatrix::part(target, codec, whole, e * 20, 20, s.data, nullptr);
    ASSERT_TRUE(matrix) << matrix.error().message;
    EXPECT_LT(difference(**matrix, target, s.decoded.data() + e * 20 * 40, 3, pool, true), 2e-5);
  }
  EXPECT_FALSE(PackedMatrix::part(target, codec, whole, 50, 20, s.data, nullptr));
  EXPECT_FALSE(PackedMatrix::part(target, codec, whole, 0, 20, std::span(s.data).first(10), nullptr));
}

TEST(Equivalent, RunsAsTheCodecThatHoldsTheSameWeights) {
  const Groups codec;
  ThreadPool pool(2);
  for (const Target target : supported_targets())
    for (const Shape& shape : {Shape{1, 64}, Shape{17, 128}, Shape{48, 192}}) {
      const Stored s = store(codec, shape, gaussian(shape.elements(), 6));
      auto matrix = PackedMatrix::pack(target, codec, shape[0], shape[1], s.data, nullptr, pool);
      ASSERT_TRUE(matrix) << matrix.error().message;
      EXPECT_EQ((*matrix)->input(1), Input::int8);
      EXPECT_TRUE((*matrix)->repacked());
      EXPECT_EQ((*matrix)->bytes(), PackedMatrix::packed_bytes(codec, shape[0], shape[1]));
      std::vector<float> row(static_cast<size_t>(shape[1]));
      for (int64_t r = 0; r < shape[0]; ++r) {
        (*matrix)->row(r, row.data());
        ASSERT_TRUE(std::equal(row.begin(), row.end(), s.decoded.begin() + r * shape[1]));
      }
      for (const int64_t m : {1, 3, 17})
        EXPECT_LT(difference(**matrix, target, s.decoded.data(), m, pool, true), 0.06) << shape.str();
    }
}

TEST(Stacked, SharesRunEachOnItsOwnKernel) {
  ThreadPool pool(2);
  for (const Target target : supported_targets())
    for (const char* name : {"stacked_v1:F32|svd_int8_v1:r31|F32", "stacked_v1:svd_int8_v1:r8|Q8_0",
                             "stacked_v1:F16|lissom_4_v1|BF16"})
      for (const Shape& shape : {Shape{2, 32}, Shape{50, 64}, Shape{96, 160}}) {
        const Codec& codec = *find_codec(name);
        const Stored s = store(codec, shape, gaussian(shape.elements(), 7));
        auto matrix = PackedMatrix::pack(target, codec, shape[0], shape[1], s.data, nullptr, pool);
        ASSERT_TRUE(matrix) << matrix.error().message;
        EXPECT_TRUE((*matrix)->repacked());
        EXPECT_EQ((*matrix)->bytes(), PackedMatrix::packed_bytes(codec, shape[0], shape[1]));
        for (const int64_t m : {1, 3, 17})  // some inputs are rounded to int8
          EXPECT_LT(difference(**matrix, target, s.decoded.data(), m, pool, m != 3), 0.06)
              << name << shape.str();
        std::vector<float> row(static_cast<size_t>(shape[1]));
        for (const int64_t r : {int64_t{0}, shape[0] / 2, shape[0] - 1}) {
          (*matrix)->row(r, row.data());
          for (int64_t c = 0; c < shape[1]; ++c)
            ASSERT_NEAR(row[static_cast<size_t>(c)], s.decoded[static_cast<size_t>(r * shape[1] + c)], 1e-5F);
        }
      }
}

TEST(LowRank, TwoProductsAreTheOneThatTheyStandFor) {
  ThreadPool pool(2);
  for (const Target target : supported_targets())
    for (const char* name : {"svd_int8_v1:r1", "svd_int8_v1:r31", "svd_int8_v1:r32", "svd_int8_v1:r47"})
      for (const Shape& shape : {Shape{1, 32}, Shape{15, 64}, Shape{48, 96}, Shape{65, 160}}) {
        const Codec& codec = *find_codec(name);
        const Stored s = store(codec, shape, gaussian(shape.elements(), 5));
        auto matrix = PackedMatrix::pack(target, codec, shape[0], shape[1], s.data, nullptr, pool);
        ASSERT_TRUE(matrix) << matrix.error().message;
        EXPECT_TRUE((*matrix)->repacked());
        EXPECT_EQ((*matrix)->bytes(), PackedMatrix::packed_bytes(codec, shape[0], shape[1]));
        // Inputs are rounded to int8, twice.
        for (const int64_t m : {1, 3, 17})
          EXPECT_LT(difference(**matrix, target, s.decoded.data(), m, pool, m != 3), 0.06)
              << name << shape.str();
        auto exact =
            PackedMatrix::pack(target, codec, shape[0], shape[1], s.data, nullptr, pool, Precision::exact);
        ASSERT_TRUE(exact) << exact.error().message;
        EXPECT_LT(difference(**exact, target, s.decoded.data(), 4, pool, true), 1e-5) << name << shape.str();
        std::vector<float> row(static_cast<size_t>(shape[1]));
        for (int64_t r = 0; r < shape[0]; ++r) {
          (*matrix)->row(r, row.data());
          ASSERT_TRUE(std::equal(row.begin(), row.end(), s.decoded.begin() + r * shape[1]))
              << name << shape.str();
        }
      }
}

TEST(LowRank, TakesFewerBytesThanTheWhole) {
  const Codec& codec = *find_codec("svd_int8_v1:r64");
  EXPECT_LT(PackedMatrix::packed_bytes(codec, 576, 576),
            PackedMatrix::packed_bytes(*find_codec("Q8_0"), 576, 576) / 4);
}

}  // namespace
}  // namespace lissom::kernels
