#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>

#include "lissom/runtime.h"

namespace lissom {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();

SamplingOptions plain(uint64_t seed = 1) {
  return {.temperature = 1.0F, .top_k = 0, .top_p = 1.0F, .min_p = 0.0F, .seed = seed};
}

std::vector<double> frequencies(const SamplingOptions& options, std::span<const float> logits, int draws) {
  Sampler sampler(options);
  std::vector<double> counts(logits.size());
  for (int i = 0; i < draws; ++i) counts[static_cast<size_t>(sampler.sample(logits))] += 1.0 / draws;
  return counts;
}

std::set<int32_t> support(const SamplingOptions& options, std::span<const float> logits, int draws = 3000) {
  Sampler sampler(options);
  std::set<int32_t> seen;
  for (int i = 0; i < draws; ++i) seen.insert(sampler.sample(logits));
  return seen;
}

const std::vector<float> kLogits{std::log(0.1F), std::log(0.4F), std::log(0.2F), std::log(0.3F)};

TEST(Sampler, DrawsWithTheSoftmaxProbabilities) {
  constexpr int kDraws = 100'000;
  const auto f = frequencies(plain(), kLogits, kDraws);
  double chi_square = 0;
  const double p[] = {0.1, 0.4, 0.2, 0.3};
  for (size_t i = 0; i < 4; ++i) chi_square += kDraws * std::pow(f[i] - p[i], 2) / p[i];
  EXPECT_LT(chi_square, 16.3);   // three degrees of freedom, one in a thousand
  EXPECT_GT(chi_square, 0.001);  // and not too even to be chance
}

TEST(Sampler, TemperatureSharpens) {
  SamplingOptions o = plain();
  o.temperature = 0.5F;
  const auto f = frequencies(o, kLogits, 100'000);
  EXPECT_NEAR(f[1], 0.16 / 0.30, 0.01);
  EXPECT_NEAR(f[0], 0.01 / 0.30, 0.005);
}

TEST(Sampler, KeepsWhatTheFiltersSay) {
  SamplingOptions o = plain();
  o.top_k = 2;
  EXPECT_THAT(support(o, kLogits), testing::ElementsAre(1, 3));
  o = plain();
  o.top_p = 0.65F;
  EXPECT_THAT(support(o, kLogits), testing::ElementsAre(1, 3));
  o.top_p = 0.75F;
  EXPECT_THAT(support(o, kLogits), testing::ElementsAre(1, 2, 3));
  o = plain();
  o.min_p = 0.6F;
  EXPECT_THAT(support(o, kLogits), testing::ElementsAre(1, 3));
  o.min_p = 2.0F;
  EXPECT_THAT(support(o, kLogits), testing::ElementsAre(1));
}

TEST(Sampler, TopPSortsNoMoreThanItNeeds) {
  std::vector<float> logits(5000);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(i * 7919 % 5000) * 1e-4F;
  SamplingOptions o = plain();
  o.top_p = 0.5F;
  const auto seen = support(o, logits, 1000);
  float lowest = 1;
  for (const int32_t id : seen) lowest = std::min(lowest, logits[static_cast<size_t>(id)]);
  // Half of the mass of e^x on [0, 0.5] lies above ln((1 + e^0.5) / 2).
  EXPECT_GT(lowest, 0.2808F);
  EXPECT_LT(lowest, 0.2870F);
}

TEST(Sampler, EdgesAreDefined) {
  EXPECT_EQ(Sampler(plain()).sample({}), -1);
  EXPECT_EQ(Sampler(plain()).sample(std::vector<float>{-kInf, kNan, -kInf}), -1);
  EXPECT_EQ(Sampler(plain()).sample(std::vector<float>{kNan, -3.0F, -kInf}), 1);
  EXPECT_EQ(Sampler(plain()).sample(std::vector<float>{1.0F, kInf, kInf}), 1);
  for (int which = 0; which < 4; ++which) {
    SamplingOptions o = plain();
    if (which == 0) o.temperature = 0;
    if (which == 1) o.top_k = 1;
    if (which == 2) o.top_p = 0;
    if (which == 3) o.temperature = kNan;
    EXPECT_EQ(Sampler(o).sample(std::vector<float>{1.0F, 5.0F, kNan, 5.0F}), 1) << which;
  }
}

TEST(Sampler, PenalisesTheWindow) {
  SamplingOptions o = plain();
  o.temperature = 0;
  o.repetition_penalty = 2.0F;
  o.penalty_window = 2;
  const std::vector<float> logits{4.0F, 3.0F, 2.5F, -1.0F};
  Sampler sampler(o);
  std::vector<int32_t> drawn;
  for (int i = 0; i < 4; ++i) {
    drawn.push_back(sampler.sample(logits));
    sampler.accept(drawn.back());
  }
  EXPECT_THAT(drawn, testing::ElementsAre(0, 1, 2, 0));
}

TEST(Sampler, TheSameOnEveryMachine) {
  std::vector<float> logits(1000);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(i * 611 % 1000) / 150.0F;
  SamplingOptions o{.seed = 42};
  Sampler sampler(o);
  std::vector<int32_t> drawn(12);
  for (int32_t& id : drawn) id = sampler.sample(logits);
  EXPECT_THAT(drawn, testing::ElementsAre(527, 126, 725, 815, 342, 761, 743, 288, 252, 689, 725, 90));
}

}  // namespace
}  // namespace lissom
