#include "runtime/rope.h"

#include <gtest/gtest.h>

#include <cmath>

namespace lissom::runtime {
namespace {

Rope rope_of(RopeScaling scaling) {
  Rope r;
  r.dim = 16;
  r.base = 10000.0F;
  r.scaling = scaling;
  r.factor = 8.0F;
  r.original_context = 256;
  return r;
}

/// Frequencies and factor of transformers 5's ROPE_INIT_FUNCTIONS for the same parameters (dimension 16, base
/// 10000, factor 8, original context 256).
struct Golden {
  RopeScaling scaling;
  std::vector<float> inverse;
  float magnitude;
};
const Golden kGolden[] = {
    {RopeScaling::none,
     {1.000000000e+00F, 3.162277639e-01F, 1.000000015e-01F, 3.162277862e-02F, 9.999999776e-03F,
      3.162277862e-03F, 1.000000047e-03F, 3.162277862e-04F},
     1.0F},
    {RopeScaling::linear,
     {1.250000000e-01F, 3.952847049e-02F, 1.250000019e-02F, 3.952847328e-03F, 1.249999972e-03F,
      3.952847328e-04F, 1.250000059e-04F, 3.952847328e-05F},
     1.0F},
    {RopeScaling::llama3,
     {1.000000000e+00F, 3.162277639e-01F, 1.000000015e-01F, 6.613106932e-03F, 1.249999972e-03F,
      3.952847328e-04F, 1.250000059e-04F, 3.952847328e-05F},
     1.0F},
    {RopeScaling::yarn,
     {1.000000000e+00F, 2.470529377e-01F, 5.625000224e-02F, 1.087033004e-02F, 1.249999972e-03F,
      3.952847328e-04F, 1.250000059e-04F, 3.952847328e-05F},
     1.2079441541679836F},
};

TEST(RopeFrequencies, AreTransformers) {
  for (const Golden& g : kGolden) {
    const auto f = rope_frequencies(rope_of(g.scaling));
    ASSERT_TRUE(f);
    ASSERT_EQ(f->inverse.size(), g.inverse.size());
    for (size_t i = 0; i < g.inverse.size(); ++i)
      EXPECT_NEAR(f->inverse[i] / g.inverse[i], 1.0, 3e-7) << static_cast<int>(g.scaling) << ", pair " << i;
    EXPECT_NEAR(f->magnitude, g.magnitude, 1e-6);
  }
}

TEST(RopeFrequencies, DivisorsReplaceLlama3) {
  Rope r = rope_of(RopeScaling::llama3);
  const auto plain = rope_frequencies(rope_of(RopeScaling::none));
  const auto scaled = rope_frequencies(r);
  for (size_t i = 0; i < 8; ++i) r.inv_freq_divisor.push_back(plain->inverse[i] / scaled->inverse[i]);
  const auto divided = rope_frequencies(r);
  ASSERT_TRUE(divided);
  for (size_t i = 0; i < 8; ++i) EXPECT_NEAR(divided->inverse[i] / scaled->inverse[i], 1.0, 3e-7);
  r.inv_freq_divisor.pop_back();
  EXPECT_FALSE(rope_frequencies(r));
  r.inv_freq_divisor.push_back(0.0F);
  EXPECT_FALSE(rope_frequencies(r));
}

TEST(RopeFrequencies, RefuseNonsense) {
  const auto refused = [](auto change) {
    Rope r = rope_of(RopeScaling::yarn);
    change(r);
    return !rope_frequencies(r);
  };
  EXPECT_FALSE(refused([](Rope&) {}));
  EXPECT_TRUE(refused([](Rope& r) { r.dim = 7; }));
  EXPECT_TRUE(refused([](Rope& r) { r.dim = 0; }));
  EXPECT_TRUE(refused([](Rope& r) { r.base = 0; }));
  EXPECT_TRUE(refused([](Rope& r) { r.base = 1; }));
  EXPECT_TRUE(refused([](Rope& r) { r.factor = NAN; }));
  EXPECT_TRUE(refused([](Rope& r) { r.original_context = 0; }));
  EXPECT_TRUE(refused([](Rope& r) { r.beta_slow = 0; }));
}

TEST(RopeTable, GrowsWithoutChangingWhatItHas) {
  const auto f = rope_frequencies(rope_of(RopeScaling::yarn));
  RopeTable table(*f);
  table.extend(3);
  const float before = table.cos(2)[1];
  table.extend(5000);
  EXPECT_EQ(table.cos(2)[1], before);
  EXPECT_NEAR(table.sin(4999)[7], std::sin(4999.0 * double{f->inverse[7]}) * double{f->magnitude}, 1e-4);
}

}  // namespace
}  // namespace lissom::runtime
