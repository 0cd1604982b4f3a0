#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/half.h"
#include "codec/family.h"
#include "codec/low_rank.h"
#include "codec/parts.h"
#include "codec/statistics.h"
#include "codec/svd_int8/factor.h"

namespace lissom {
namespace {

using ::testing::HasSubstr;

std::vector<float> noise(int64_t n, uint64_t seed) {
  uint64_t state = seed;
  std::vector<float> out(static_cast<size_t>(n));
  for (float& v : out) {
    float sum = 0;
    for (int i = 0; i < 4; ++i) {
      state = state * 6364136223846793005U + 1442695040888963407U;
      sum += static_cast<float>(state >> 40U) / static_cast<float>(1 << 24) - 0.5F;
    }
    v = sum;
  }
  return out;
}

/// rows × cols of rank r, whose components fall off as 1/k.
std::vector<float> low_rank(int64_t rows, int64_t cols, int64_t r, uint64_t seed) {
  const auto left = noise(rows * r, seed), right = noise(r * cols, seed + 1);
  std::vector<float> w(static_cast<size_t>(rows * cols));
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t k = 0; k < r; ++k)
      for (int64_t c = 0; c < cols; ++c)
        w[static_cast<size_t>(i * cols + c)] += left[static_cast<size_t>(i * r + k)] *
                                                right[static_cast<size_t>(k * cols + c)] /
                                                static_cast<float>(k + 1);
  return w;
}

double norm(std::span<const float> w) {
  double sum = 0;
  for (const float v : w) sum += double{v} * double{v};
  return std::sqrt(sum);
}

double relative_error(std::span<const float> w, std::span<const float> v) {
  double sum = 0;
  for (size_t i = 0; i < w.size(); ++i) sum += std::pow(double{w[i]} - double{v[i]}, 2);
  return std::sqrt(sum) / norm(w);
}

/// ‖(W - V)·X‖² with XXᵀ = H.
double loss(std::span<const float> w, std::span<const float> v, int64_t cols, std::span<const float> h) {
  double sum = 0;
  for (size_t r = 0; r < w.size() / static_cast<size_t>(cols); ++r)
    for (size_t i = 0; i < static_cast<size_t>(cols); ++i)
      for (size_t j = 0; j < static_cast<size_t>(cols); ++j) {
        const size_t a = r * static_cast<size_t>(cols) + i, b = r * static_cast<size_t>(cols) + j;
        sum += (double{w[a]} - double{v[a]}) * (double{w[b]} - double{v[b]}) *
               double{h[i * static_cast<size_t>(cols) + j]};
      }
  return sum;
}

struct Encoded {
  std::vector<std::vector<std::byte>> bytes;
  [[nodiscard]] Parts parts() const { return {bytes.begin(), bytes.end()}; }
};

std::vector<float> decoded(const Codec& codec, const Shape& shape, const Encoded& e) {
  std::vector<float> out(static_cast<size_t>(shape.elements()));
  codec.decode_rows(shape, e.parts(), 0, shape.rows(), out.data());
  return out;
}

std::vector<float> through(const std::string& name, const Shape& shape, std::span<const float> w,
                           std::span<const float> importance = {}) {
  const Codec& codec = *find_codec(name);
  auto parts = encode_checked(codec, "w", shape, w, importance);
  EXPECT_TRUE(parts) << (parts ? "" : parts.error().message);
  return decoded(codec, shape, Encoded{*std::move(parts)});
}

std::vector<float> with_hessian(const std::string& name, const Shape& shape, std::span<const float> w,
                                std::span<const float> h) {
  const Codec& codec = *find_codec(name);
  Encoded e;
  std::vector<std::span<std::byte>> views;
  for (const Component& part : codec.components(shape)) e.bytes.emplace_back(part.bytes);
  for (auto& bytes : e.bytes) views.emplace_back(bytes);
  dynamic_cast<const HessianCodec&>(codec).encode_with(shape, w, {.hessian = h}, views);
  return decoded(codec, shape, e);
}

TEST(SvdInt8, NamesCarryTheParameters) {
  EXPECT_EQ(find_codec("svd_int8_v1:r64")->name(), "svd_int8_v1:r64");
  EXPECT_EQ(find_codec("svd_int8_v1:f0.50"), find_codec("svd_int8_v1:f0.5"));
  EXPECT_EQ(find_codec("svd_int8_v1"), find_codec("svd_int8_v1:f0.5"));
  for (const char* name : {"svd_int8_v1:r0", "svd_int8_v1:r1.5", "svd_int8_v1:f1.5", "svd_int8_v1:rx",
                           "svd_int8_v1:r64x", "svd_int8_v1:r-3", "svd_int8_v1:enan"}) {
    const auto codec = codec_named(name);
    ASSERT_FALSE(codec) << name;
    EXPECT_THAT(codec.error().message, HasSubstr("r64 (a rank)")) << name;
  }
  EXPECT_EQ(find_codec("svd_int8_v2:r64"), nullptr);
  EXPECT_EQ(find_codec("Q4_0:r64"), nullptr);
}

TEST(SvdInt8, CountsEveryByte) {
  const Codec& codec = *find_codec("svd_int8_v1:r10");
  const Shape shape{48, 64};
  EXPECT_EQ(stored_bytes(codec, shape), 10U * (48 + 64 + 2 + 2));
  EXPECT_DOUBLE_EQ(codec.bits_per_weight(shape), 8.0 * 10 * 116 / (48 * 64));
  // No more than the full rank, and at least 1.
  EXPECT_EQ(stored_bytes(codec, Shape{4, 64}), 4U * (4 + 64 + 4));
  EXPECT_EQ(stored_bytes(*find_codec("svd_int8_v1:f0.01"), shape), 116U);
  EXPECT_LE(find_codec("svd_int8_v1:b4")->bits_per_weight(shape), 4.0);
  EXPECT_GT(find_codec("svd_int8_v1:b4")->bits_per_weight(shape), 3.6);
}

TEST(SvdInt8, KeepsWhatHasTheRank) {
  for (const Shape& shape : {Shape{40, 96}, Shape{200, 32}, Shape{64, 64}, Shape{1, 32}, Shape{3, 160}}) {
    const int64_t r = std::min<int64_t>(6, shape.rows());
    const auto w = low_rank(shape.rows(), shape.cols(), r, 3);
    EXPECT_LT(relative_error(w, through(fmt::format("svd_int8_v1:r{}", r), shape, w)), 0.01) << shape.str();
  }
}

TEST(SvdInt8, LosesWhatTheBestApproximationLoses) {
  const Shape shape{48, 64};
  const auto w = noise(shape.elements(), 5);
  const RankFactorization svd(w, 48, 64, {});
  double all = 0, lost = 0;
  for (size_t k = 0; k < svd.energies().size(); ++k) {
    all += svd.energies()[k];
    if (k >= 20) lost += svd.energies()[k];
  }
  EXPECT_NEAR(std::sqrt(all), norm(w), 1e-6 * norm(w));  // energies are those of W
  const double best = std::sqrt(lost / all);
  const double error = relative_error(w, through("svd_int8_v1:r20,raw", shape, w));
  EXPECT_GT(error, best);
  EXPECT_LT(error, best * 1.005);
}

TEST(SvdInt8, CorrectsTheNorm) {
  const Shape shape{48, 64};
  const auto w = noise(shape.elements(), 5);
  EXPECT_LT(norm(through("svd_int8_v1:r12,raw", shape, w)), 0.9 * norm(w));
  EXPECT_NEAR(norm(through("svd_int8_v1:r12", shape, w)), norm(w), 1e-3 * norm(w));
}

TEST(SvdInt8, SeesTheWeightThroughItsInputs) {
  // Inputs in a space of 10 of 64 dimensions, and some noise.
  const int64_t cols = 64;
  const auto basis = noise(10 * cols, 8);
  std::vector<float> h(static_cast<size_t>(cols * cols));
  for (size_t i = 0; i < 64; ++i)
    for (size_t j = 0; j < 64; ++j) {
      for (size_t k = 0; k < 10; ++k) h[i * 64 + j] += basis[k * 64 + i] * basis[k * 64 + j];
      if (i == j) h[i * 64 + j] += 0.01F;
    }
  for (const int64_t rows : {int64_t{48}, int64_t{150}}) {
    const Shape shape{rows, cols};
    const auto w = noise(shape.elements(), 9);
    const double plain = loss(w, through("svd_int8_v1:r12,raw", shape, w), cols, h);
    const double whitened = loss(w, with_hessian("svd_int8_v1:r12,raw", shape, w, h), cols, h);
    EXPECT_LT(whitened, plain / 20) << rows;
  }
}

TEST(SvdInt8, WeighsColumnsByImportance) {
  const Shape shape{48, 64};
  const auto w = noise(shape.elements(), 9);
  std::vector<float> importance(64, 0.01F), h(64 * 64);
  for (size_t i = 0; i < 8; ++i) importance[i * 7] = 10;
  for (size_t i = 0; i < 64; ++i) h[i * 65] = importance[i];
  const double plain = loss(w, through("svd_int8_v1:r12,raw", shape, w), 64, h);
  EXPECT_LT(loss(w, through("svd_int8_v1:r12,raw", shape, w, importance), 64, h), plain / 5);
  // A diagonal Hessian says the same.
  EXPECT_EQ(through("svd_int8_v1:r12", shape, w, importance), with_hessian("svd_int8_v1:r12", shape, w, h));
}

TEST(SvdInt8, OddStatisticsAreNoTrouble) {
  const Shape shape{16, 32};
  const auto w = noise(shape.elements(), 2);
  const std::vector<float> none(32, 0.0F), nothing(32 * 32, 0.0F);
  const auto plain = through("svd_int8_v1:r8", shape, w);
  EXPECT_EQ(through("svd_int8_v1:r8", shape, w, none), plain);
  EXPECT_EQ(with_hessian("svd_int8_v1:r8", shape, w, nothing), plain);
  std::vector<float> indefinite(32 * 32, 0.0F);
  for (size_t i = 0; i < 32; ++i) indefinite[i * 33] = 1;
  indefinite[1] = indefinite[32] = 5;
  for (const float v : with_hessian("svd_int8_v1:r8", shape, w, indefinite)) ASSERT_TRUE(std::isfinite(v));
  const std::vector<float> zeros(static_cast<size_t>(shape.elements()), 0.0F);
  EXPECT_EQ(through("svd_int8_v1:r8", shape, zeros), zeros);
}

TEST(SvdInt8, AdaptsTheRank) {
  const auto& adaptive = dynamic_cast<const AdaptiveCodec&>(*find_codec("svd_int8_v1:e0.99"));
  const Shape shape{96, 128};
  const auto w = low_rank(96, 128, 5, 1);
  const std::string few = adaptive.choose(shape, w, {});
  EXPECT_THAT(few, HasSubstr("svd_int8_v1:r"));
  EXPECT_LE(stored_bytes(*find_codec(few), shape), stored_bytes(*find_codec("svd_int8_v1:r5"), shape));
  EXPECT_EQ(dynamic_cast<const AdaptiveCodec*>(find_codec(few)), nullptr);
  // Noise has no low rank: nothing is smaller than plain INT8.
  EXPECT_EQ(adaptive.choose(shape, noise(shape.elements(), 1), {}), "Q8_0");
}

TEST(SvdInt8, DecodesAnyRowsAlike) {
  const Shape shape{33, 64};
  const Codec& codec = *find_codec("svd_int8_v1:r9");
  const auto w = noise(shape.elements(), 4);
  const Encoded e{*encode_checked(codec, "w", shape, w, {})};
  const auto all = decoded(codec, shape, e);
  std::vector<float> some(7 * 64);
  codec.decode_rows(shape, e.parts(), 20, 7, some.data());
  EXPECT_TRUE(std::equal(some.begin(), some.end(), all.begin() + 20 * 64));
}

TEST(SvdInt8, RefusesScalesThatAreNotFinite) {
  const Shape shape{16, 32};
  const Codec& codec = *find_codec("svd_int8_v1:r4");
  auto bytes = *encode_checked(codec, "w", shape, noise(shape.elements(), 4), {});
  const uint16_t infinity = 0x7c00;
  std::memcpy(bytes[3].data() + 2, &infinity, 2);
  std::vector<std::byte> data = join_parts(codec, shape, bytes);
  const auto parts = parts_of(codec, shape, data);
  ASSERT_FALSE(parts);
  EXPECT_THAT(parts.error().message, HasSubstr("right_scale is not finite at 1"));
  data.pop_back();
  EXPECT_FALSE(parts_of(codec, shape, data));
}

}  // namespace
}  // namespace lissom
