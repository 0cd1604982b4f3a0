#include "eval/statistics.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <random>

#include "eval/peak_memory.h"

namespace lissom {
namespace {

TEST(Statistics, MeanAndItsError) {
  const std::vector<double> values{1, 2, 3, 4, 5, 6};
  const Estimate mean = mean_of(values);
  EXPECT_DOUBLE_EQ(mean.value, 3.5);
  EXPECT_DOUBLE_EQ(mean.error, std::sqrt(3.5 / 6));  // sample variance 17.5/5
  EXPECT_DOUBLE_EQ(exp_mean_of(values).value, std::exp(3.5));
  EXPECT_DOUBLE_EQ(exp_mean_of(values).error, std::exp(3.5) * mean.error);
  EXPECT_EQ(mean_of(std::vector{7.0}).error, 0);
  EXPECT_EQ(mean_of({}).value, 0);
}

TEST(Statistics, Share) {
  EXPECT_DOUBLE_EQ(share_of(75, 101).value, 75.0 / 101);
  EXPECT_DOUBLE_EQ(share_of(50, 101).error, std::sqrt(50.0 / 101 * 51 / 101 / 100));
  EXPECT_EQ(share_of(0, 0).value, 0);
  EXPECT_EQ(share_of(10, 10).error, 0);
}

TEST(Statistics, QuantilesInterpolateBetweenOrderStatistics) {
  std::vector<double> values(101);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<double>(i);
  EXPECT_DOUBLE_EQ(quantile_of(values, 0.5).value, 50);
  EXPECT_DOUBLE_EQ(quantile_of(values, 0.9).value, 90);
  EXPECT_DOUBLE_EQ(quantile_of(values, 0.995).value, 99.5);
  // Evenly spaced by 1: one binomial deviation of rank is the error.
  EXPECT_NEAR(quantile_of(values, 0.5).error, std::sqrt(101 * 0.25), 1e-12);
  EXPECT_NEAR(quantile_of(values, 0.9).error, std::sqrt(101 * 0.09), 1e-12);
  const std::vector<double> one{3.0};
  EXPECT_EQ(quantile_of(one, 0.99).value, 3.0);
  EXPECT_EQ(quantile_of(one, 0.99).error, 0.0);
  EXPECT_EQ(max_of(one).value, 3.0);
  EXPECT_EQ(max_of(one).error, 0.0);
}

TEST(Statistics, ErrorsAreTheSpreadThatRepetitionHas) {
  // 400 samples of 1000 exponential values: what the estimates say of their own error must be near the spread
  // of the estimates.
  std::mt19937 random(11);
  std::exponential_distribution<double> exponential(1);
  constexpr int kSamples = 400;
  for (const double q : {0.5, 0.9, 0.99}) {
    std::vector<double> found;
    double said = 0;
    for (int s = 0; s < kSamples; ++s) {
      std::vector<double> values(1000);
      for (double& v : values) v = exponential(random);
      std::ranges::sort(values);
      const Estimate e = quantile_of(values, q);
      found.push_back(e.value);
      said += e.error / kSamples;
    }
    const double spread = mean_of(found).error * std::sqrt(kSamples);
    EXPECT_NEAR(said, spread, 0.2 * spread) << q;
    EXPECT_NEAR(mean_of(found).value, -std::log(1 - q), 0.1) << q;
  }
}

TEST(Statistics, TheErrorOfTheMaximumIsTheBootstraps) {
  std::vector<double> values{0.1, 0.4, 0.5, 0.9, 1.6, 1.7, 3.0, 5.0};
  std::mt19937 random(3);
  std::uniform_int_distribution<size_t> pick(0, values.size() - 1);
  std::vector<double> tops(40000);
  for (double& top : tops) {
    for (size_t i = 0; i < values.size(); ++i) top = std::max(top, values[pick(random)]);
  }
  const double spread = mean_of(tops).error * std::sqrt(static_cast<double>(tops.size()));
  EXPECT_NEAR(max_of(values).error, spread, 0.02 * spread);
  EXPECT_EQ(max_of(values).value, 5.0);
}

TEST(Statistics, SummaryOfScores) {
  TokenScores scores;
  for (int i = 0; i < 100; ++i) {
    const double shared = i % 7;  // what both models find hard
    scores.nll_base.push_back(shared);
    scores.nll.push_back(shared + (i % 2 == 0 ? 0.1 : 0.3));
    scores.kld.push_back(i);
  }
  scores.same_top = 90;
  const EvalResult r = summarize(scores);
  EXPECT_TRUE(r.has_base);
  EXPECT_EQ(r.tokens, 100);
  EXPECT_NEAR(r.ln_ppl_ratio.value, 0.2, 1e-12);
  EXPECT_NEAR(std::log(r.ppl.value / r.ppl_base.value), r.ln_ppl_ratio.value, 1e-12);
  // Paired: the shared part cancels, so the error is that of the differences, far below either model's own.
  EXPECT_NEAR(r.ln_ppl_ratio.error, 0.1 / std::sqrt(99.0), 1e-12);
  EXPECT_GT(r.ppl.error / r.ppl.value, 10 * r.ln_ppl_ratio.error);
  EXPECT_DOUBLE_EQ(r.kld_mean.value, 49.5);
  EXPECT_DOUBLE_EQ(r.kld_median, 49.5);
  EXPECT_NEAR(r.kld_p90, 89.1, 1e-12);
  EXPECT_NEAR(r.kld_p99, 98.01, 1e-12);
  EXPECT_EQ(r.kld_max, 99);
  EXPECT_GT(r.kld_median_error, 0);
  EXPECT_GT(r.kld_p90_error, 0);
  EXPECT_GT(r.kld_p99_error, 0);
  EXPECT_GT(r.kld_max_error, 0);
  EXPECT_DOUBLE_EQ(r.same_top.value, 0.9);

  scores.nll_base.clear();
  scores.kld.clear();
  const EvalResult alone = summarize(scores);
  EXPECT_FALSE(alone.has_base);
  EXPECT_EQ(alone.ppl.value, r.ppl.value);
}

TEST(PeakMemory, GrowsWithWhatIsTouched) {
  const uint64_t before = peak_memory();
  ASSERT_GT(before, 0U);
  // Tests before this one may have left a peak far above what is resident now. The kernel counts pages per
  // processor and sums them roughly, so that what is resident may read higher than the peak read just before
  // it.
  uint64_t size = 0, pages = 0;
  std::ifstream("/proc/self/statm") >> size >> pages;
  const uint64_t resident = pages * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  const std::vector<char> big(before - std::min(before, resident) + (uint64_t{64} << 20U), 1);
  EXPECT_GE(peak_memory(), before + (uint64_t{32} << 20U));
  EXPECT_EQ(big.back(), 1);
}

}  // namespace
}  // namespace lissom
