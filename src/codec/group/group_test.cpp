#include "codec/group/group.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

namespace lissom {
namespace {

std::vector<float> gaussian(int64_t n, unsigned seed, float deviation = 0.02F) {
  std::mt19937 random(seed);
  std::vector<float> out(static_cast<size_t>(n));
  // Box and Muller: no standard fixes what std::normal_distribution draws.
  for (float& v : out) {
    const double u = (random() + 0.5) / 4294967296.0, t = random() / 4294967296.0;
    v = deviation * static_cast<float>(std::sqrt(-2 * std::log(u)) * std::cos(6.283185307179586 * t));
  }
  return out;
}

GroupMatrix encode(const GroupSpec& spec, const std::vector<float>& w, int64_t cols,
                   std::span<const float> importance = {}) {
  const auto rows = static_cast<int64_t>(w.size()) / cols;
  GroupMatrix m = make_group_matrix(spec, rows, cols);
  if (spec.scale == GroupScale::e4m3) {
    float largest = 0;
    for (const float v : w) largest = std::max(largest, std::fabs(v));
    m.global_scale = e4m3_global_scale(largest);
  }
  encode_group_rows(w.data(), importance, 0, rows, m);
  return m;
}

double error_of(const GroupMatrix& m, const std::vector<float>& w, std::span<const float> importance = {}) {
  std::vector<float> back(static_cast<size_t>(m.cols));
  double error = 0, power = 0;
  for (int64_t r = 0; r < m.rows; ++r) {
    m.decode_row(r, back.data());
    for (int64_t c = 0; c < m.cols; ++c) {
      const double v = importance.empty() ? 1 : importance[static_cast<size_t>(c)];
      const double x = w[static_cast<size_t>(r * m.cols + c)], d = x - back[static_cast<size_t>(c)];
      error += v * d * d;
      power += v * x * x;
    }
  }
  return std::sqrt(error / power);
}

struct Case {
  GroupSpec spec;
  double low, high;  ///< of the relative error of Gaussian weights
};

const std::vector<Case>& cases() {
  static const std::vector<Case> list = {
      {{.bits = 4, .group = 32, .signed_scale = true}, 0.076, 0.086},
      {{.bits = 4, .group = 128, .signed_scale = true}, 0.095, 0.108},
      {{.bits = 4, .group = 128}, 0.097, 0.112},
      {{.bits = 4, .group = 32, .symmetric = false}, 0.068, 0.082},
      {{.bits = 4, .group = 128, .symmetric = false, .lowest_zero = 1}, 0.093, 0.107},
      {{.bits = 2, .group = 64, .symmetric = false}, 0.30, 0.42},
      {{.bits = 3, .group = 64, .signed_scale = true}, 0.17, 0.21},
      {{.bits = 8, .group = 0, .scale = GroupScale::bf16}, 0.005, 0.0095},
      {{.element = GroupElement::e4m3, .bits = 8, .group = 0}, 0.022, 0.028},
      {{.element = GroupElement::e2m1, .bits = 4, .group = 16, .scale = GroupScale::e4m3}, 0.077, 0.088},
      {{.element = GroupElement::e2m1, .bits = 4, .group = 32, .scale = GroupScale::e8m0}, 0.106, 0.117},
  };
  return list;
}

// Too good fails as surely as too bad: the test or the accounting would be wrong.
TEST(Group, ErrorOfGaussianWeightsLiesInItsInterval) {
  constexpr int64_t kCols = 1152;  // no multiple of nvfp4's block of 64 columns times two
  const auto w = gaussian(kCols * 32, 1);
  for (const Case& c : cases()) {
    const double error = error_of(encode(c.spec, w, kCols), w);
    EXPECT_GT(error, c.low) << group_spec_name(c.spec);
    EXPECT_LT(error, c.high) << group_spec_name(c.spec);
  }
}

TEST(Group, ImportanceLowersTheWeightedError) {
  constexpr int64_t kCols = 256;
  const auto w = gaussian(kCols * 64, 2);
  std::vector<float> importance = gaussian(kCols, 3, 1.0F);
  for (float& v : importance) v = std::exp(2 * v);
  for (const Case& c : cases()) {
    const double with = error_of(encode(c.spec, w, kCols, importance), w, importance);
    EXPECT_LT(with, error_of(encode(c.spec, w, kCols), w, importance)) << group_spec_name(c.spec);
  }
}

TEST(Group, RowsAreIndependent) {
  constexpr int64_t kCols = 128;
  const auto w = gaussian(kCols * 6, 4);
  for (const Case& c : cases()) {
    const GroupMatrix whole = encode(c.spec, w, kCols);
    GroupMatrix parts = make_group_matrix(c.spec, 6, kCols);
    parts.global_scale = whole.global_scale;
    encode_group_rows(w.data() + 2 * kCols, {}, 2, 4, parts);
    encode_group_rows(w.data(), {}, 0, 2, parts);
    EXPECT_EQ(whole.codes, parts.codes);
    EXPECT_EQ(whole.scales, parts.scales);
    EXPECT_EQ(whole.zeros, parts.zeros);
  }
}

TEST(Group, OddGroupsComeOutFinite) {
  constexpr int64_t kCols = 128;
  std::vector<float> zeros(kCols, 0.0F), constant(kCols, 0.25F), below(kCols, -3.0F), tiny(kCols, 1e-30F),
      outlier(kCols, 1e-3F), large(kCols, 65504.0F);
  outlier[77] = 1000.0F;
  large[3] = -65504.0F;
  for (const Case& c : cases())
    for (const auto& w : {zeros, constant, below, tiny, outlier, large}) {
      // Floats of four bits over E8M0 or E4M3 reach as far as their codecs do.
      if (c.spec.element == GroupElement::e2m1 && w == large) continue;
      const GroupMatrix m = encode(c.spec, w, kCols);
      std::vector<float> back(kCols);
      m.decode_row(0, back.data());
      float largest = 0;
      for (const float v : w) largest = std::max(largest, std::fabs(v));
      for (size_t i = 0; i < back.size(); ++i) {
        ASSERT_TRUE(std::isfinite(back[i])) << group_spec_name(c.spec);
        // What is smaller than any scale of F16 becomes 0.
        ASSERT_LE(std::fabs(back[i] - w[i]), std::max(0.6F * largest, 1e-8F))
            << group_spec_name(c.spec) << " " << w[i];
      }
      for (const uint8_t code : m.codes) ASSERT_LT(code, 1U << c.spec.bits);
      for (const uint8_t zero : m.zeros) {
        ASSERT_GE(zero, c.spec.lowest_zero);
        ASSERT_LT(zero, 1U << c.spec.bits);
      }
    }
}

// Weights that lie on a grid of the format are found again.
TEST(Group, WeightsOnTheGridAreExact) {
  constexpr int64_t kCols = 128;
  std::mt19937 random(5);
  std::vector<float> w(kCols);
  for (float& v : w) v = 0.125F * static_cast<float>(static_cast<int>(random() % 16) - 8);
  w[5] = -1.0F;
  EXPECT_EQ(error_of(encode({.bits = 4, .group = 128, .signed_scale = true}, w, kCols), w), 0);
  EXPECT_EQ(error_of(encode({.bits = 4, .group = 128, .symmetric = false}, w, kCols), w), 0);
  EXPECT_EQ(error_of(encode({.bits = 8, .group = 0, .scale = GroupScale::bf16}, w, kCols), w), 0);
}

// 2^-24 is the smallest scale of F16; a 448th of a small weight would round to none.
TEST(Group, SmallWeightsHaveAScale) {
  const auto w = gaussian(256, 6, 2e-6F);
  EXPECT_LT(error_of(encode({.element = GroupElement::e4m3, .bits = 8, .group = 0}, w, 256), w), 0.1);
  EXPECT_LT(error_of(encode({.bits = 8, .group = 0}, w, 256), w), 0.1);
}

TEST(Group, ColumnsFindTheirGroupsThroughAnIndex) {
  GroupMatrix m = make_group_matrix({.bits = 4, .group = 2}, 1, 4);
  m.codes = {9, 9, 9, 9};
  m.scales = {1, 10};
  m.group_of = {1, 0, 0, 1};
  std::vector<float> row(4);
  m.decode_row(0, row.data());
  EXPECT_EQ(row, (std::vector<float>{10, 1, 1, 10}));
}

}  // namespace
}  // namespace lissom
