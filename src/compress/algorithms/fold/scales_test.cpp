#include "compress/algorithms/fold/scales.h"

#include <gtest/gtest.h>

#include <cmath>

#include "compress/testing.h"

namespace lissom {
namespace {

constexpr int64_t kCols = 256, kRows = 8, kTokens = 96;

/// Inputs of which every sixteenth channel is twenty times as large.
SquareMatrix moments(ThreadPool& pool, uint64_t seed) {
  std::vector<float> x = testing::gaussian(kTokens * kCols, seed);
  for (size_t i = 0; i < x.size(); i += 16) x[i] *= 20;
  SquareMatrix h(kCols);
  std::vector<float> packed;
  add_gram(pool, x.data(), nullptr, kTokens, h, packed);
  mirror(h);
  return h;
}

ScaledInput input_for(ThreadPool& pool, const Codec& codec) {
  ScaledInput input;
  input.columns = input.channels = kCols;
  for (int32_t c = 0; c < kCols; ++c) input.channel.push_back(c);
  input.fit = moments(pool, 2);
  input.judge = moments(pool, 3);
  input.linears.push_back({&codec, kRows, testing::gaussian(kRows * kCols, 5), {}});
  return input;
}

TEST(ChooseScales, WorkWithEveryCodecThatLosesSomething) {
  ThreadPool pool(1);
  int64_t helped = 0, all = 0;
  for (const Codec* codec : codecs()) {
    if (kCols % codec->column_multiple() != 0 || codec->bits_per_weight({kRows, kCols}) >= 16) continue;
    ++all;
    const ScaleChoice choice = choose_scales(pool, input_for(pool, *codec));
    if (choice.factors.empty()) continue;
    ++helped;
    ASSERT_EQ(choice.factors.size(), size_t{kCols}) << codec->name();
    for (const float f : choice.factors) ASSERT_TRUE(f > 0 && std::isfinite(f)) << codec->name();
    EXPECT_GT(choice.judge_ratio, 0.0) << codec->name();
    EXPECT_LT(choice.judge_ratio, 0.99) << codec->name();
    EXPECT_LT(choice.fit_ratio, 1.0) << codec->name();
  }
  EXPECT_GT(all, 20);
  EXPECT_GT(helped, all / 2) << "without importance large channels deserve more";
}

TEST(ChooseScales, HalveTheErrorOfQ4) {
  ThreadPool pool(1);
  const ScaleChoice choice = choose_scales(pool, input_for(pool, *find_codec("Q4_0")));
  EXPECT_LT(choice.judge_ratio, 0.6);
  EXPECT_GT(choice.judge_ratio, 0.05) << "too good to be true";
  ASSERT_FALSE(choice.factors.empty());
  EXPECT_GT(choice.factors[0], 1.5F * choice.factors[1]);
}

TEST(ChooseScales, HeadsThatReadOneChannelShareItsFactor) {
  ThreadPool pool(1);
  ScaledInput input = input_for(pool, *find_codec("Q4_0"));
  input.channels = 128;
  for (int32_t& c : input.channel) c %= 128;
  const ScaleChoice choice = choose_scales(pool, input);
  EXPECT_EQ(choice.factors.size(), 128U);
}

TEST(ChooseScales, InputsOfZerosHaveNone) {
  ThreadPool pool(1);
  ScaledInput input = input_for(pool, *find_codec("Q4_0"));
  input.fit = input.judge = SquareMatrix(kCols);
  EXPECT_TRUE(choose_scales(pool, input).factors.empty());
  input.linears.clear();
  EXPECT_TRUE(choose_scales(pool, input).factors.empty());
}

}  // namespace
}  // namespace lissom
