#include "eval/rows.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

namespace lissom {
namespace {

struct Reference {
  long double nll, nll_base, kld;
};

long double log_sum(const std::vector<float>& x) {
  long double top = x[0], sum = 0;
  for (const float v : x) top = std::max<long double>(top, v);
  for (const float v : x) sum += std::exp(v - top);
  return top + std::log(sum);
}

Reference reference(const std::vector<float>& model, const std::vector<float>& base, size_t token) {
  const long double lm = log_sum(model), lb = log_sum(base);
  long double kld = 0;
  for (size_t i = 0; i < base.size(); ++i) kld += std::exp(base[i] - lb) * ((base[i] - lb) - (model[i] - lm));
  return {lm - model[token], lb - base[token], kld};
}

std::vector<float> random_row(size_t n, unsigned seed, float spread) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(-5, spread);
  std::vector<float> row(n);
  for (float& v : row) v = normal(random);
  return row;
}

RowScore both(Target target, const std::vector<float>& model, const std::vector<float>& base, int32_t token) {
  return score_rows(target, model.data(), base.data(), static_cast<int64_t>(model.size()), token);
}

class Rows : public testing::TestWithParam<Target> {};
INSTANTIATE_TEST_SUITE_P(Targets, Rows, testing::ValuesIn(supported_targets()),
                         [](const auto& one) { return std::string(target_name(one.param)); });

TEST_P(Rows, AgreeWithLongDoubleAtEveryLength) {
  for (const size_t n : {1, 2, 15, 16, 17, 31, 257, 1024, 1039, 5000, 49152}) {
    for (const float spread : {0.01F, 3.0F, 40.0F}) {
      const auto base = random_row(n, 1, spread);
      auto model = random_row(n, 2, spread);
      for (size_t i = 0; i < n; ++i) model[i] = base[i] + 0.05F * (model[i] - base[i]);
      const size_t token = n / 3;
      const Reference expected = reference(model, base, token);
      const RowScore score = both(GetParam(), model, base, static_cast<int32_t>(token));
      EXPECT_TRUE(score.finite);
      EXPECT_NEAR(score.nll, static_cast<double>(expected.nll), 1e-6 + 1e-7 * std::fabs(score.nll));
      EXPECT_NEAR(score.nll_base, static_cast<double>(expected.nll_base), 1e-6 + 1e-7 * std::fabs(score.nll));
      EXPECT_NEAR(score.kld, static_cast<double>(expected.kld), 3e-7 + 1e-6 * static_cast<double>(expected.kld))
          << n << " " << spread;
    }
  }
}

TEST_P(Rows, ClosedForms) {
  // Two outcomes with probabilities 1/4, 3/4 against 1/2, 1/2.
  const std::vector<float> base{0.0F, std::log(3.0F)}, model{7.0F, 7.0F};
  const RowScore score = both(GetParam(), model, base, 1);
  EXPECT_NEAR(score.nll, std::log(2.0), 1e-7);
  EXPECT_NEAR(score.nll_base, -std::log(0.75), 1e-7);
  EXPECT_NEAR(score.kld, 0.25 * std::log(0.5) + 0.75 * std::log(1.5), 2e-7);
  EXPECT_EQ(score.top, 0);  // the first of equals
  EXPECT_EQ(score.top_base, 1);
  // A shift of all logits changes nothing.
  EXPECT_NEAR(both(GetParam(), {107.0F, 107.0F}, base, 1).kld, score.kld, 5e-6);
  // Uniform over n.
  const std::vector<float> flat(1000, -3.0F);
  EXPECT_NEAR(score_row(GetParam(), flat.data(), 1000, 5).nll, std::log(1000.0), 1e-6);
}

TEST_P(Rows, EqualRowsHaveNoDivergenceAndSmallOnesKeepTheirDigits) {
  const auto base = random_row(49152, 3, 4);
  EXPECT_EQ(both(GetParam(), base, base, 0).kld, 0);
  // Half of the probability-weighted variance of a small change, to second order.
  auto model = base;
  const auto noise = random_row(49152, 4, 1);
  for (size_t i = 0; i < model.size(); ++i) model[i] += 0.01F * noise[i];
  const double expected = static_cast<double>(reference(model, base, 0).kld);
  EXPECT_GT(expected, 2e-5);
  EXPECT_NEAR(both(GetParam(), model, base, 0).kld, expected, 0.005 * expected);
}

TEST_P(Rows, WhatIsNotFiniteIsSaid) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (const size_t at : {size_t{0}, size_t{700}, size_t{999}}) {
      const auto good = random_row(1000, 5, 2);
      auto row = good;
      row[at] = bad;
      EXPECT_FALSE(score_row(GetParam(), row.data(), 1000, 1).finite) << bad << " at " << at;
      EXPECT_FALSE(both(GetParam(), row, good, 1).finite) << bad << " at " << at;
      EXPECT_FALSE(both(GetParam(), good, row, 1).finite) << bad << " at " << at;
    }
  }
}

TEST_P(Rows, SameBitsOnEveryTarget) {
  for (const size_t n : {17, 1000, 49152}) {
    const auto base = random_row(n, 6, 5), model = random_row(n, 7, 5);
    const RowScore one = both(GetParam(), model, base, 3), other = both(Target::scalar, model, base, 3);
    EXPECT_EQ(one.nll, other.nll);
    EXPECT_EQ(one.nll_base, other.nll_base);
    EXPECT_EQ(one.kld, other.kld);
    EXPECT_EQ(one.nll, score_row(GetParam(), model.data(), static_cast<int64_t>(n), 3).nll);
  }
}

}  // namespace
}  // namespace lissom
