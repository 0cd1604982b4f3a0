// Every instruction set chooses the same parameters and codes, bit for bit.

#include "codec/search/search.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

namespace lissom {
namespace {

/// Weights of several kinds, bad cases among them.
std::vector<float> hard_weights(size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 0.02F);
  std::vector<float> w(n);
  for (size_t i = 0; i < n; ++i) {
    const float x = normal(random);
    switch (i / 64 % 8) {
      case 0:
        w[i] = x;
        break;
      case 1:
        w[i] = x * (random() % 30 ? 1.0F : 40.0F);
        break;
      case 2:
        w[i] = std::fabs(x) + 0.1F;
        break;
      case 3:
        w[i] = 0;
        break;
      case 4:
        w[i] = 0.25F;
        break;
      case 5:
        w[i] = x * 1e-6F;
        break;
      case 6:
        w[i] = x * 2e6F;
        break;
      default:
        w[i] = random() % 64 ? 0.0F : x;
        break;
    }
    w[i] = std::clamp(w[i], -65504.0F, 65504.0F);
  }
  return w;
}

TEST(SearchTargets, AllChooseAndRoundTheSame) {
  for (const Codec* codec : codecs()) {
    const auto* grid_codec = dynamic_cast<const GridCodec*>(codec);
    if (grid_codec == nullptr) continue;
    const GridSpec& spec = grid_codec->spec();
    const int64_t blocks = 35, period = 5;
    const auto w = hard_weights(static_cast<size_t>(blocks * spec.block), 1);
    std::vector<float> raw(static_cast<size_t>(period * spec.block)), v(raw.size());
    std::mt19937 random(2);
    for (float& x : raw) x = random() % 5 ? std::exp(std::normal_distribution<float>(0, 2)(random)) : 0.0F;
    normalise_importance(spec, raw.data(), period, v.data());
    for (const float* importance : {static_cast<const float*>(nullptr), static_cast<const float*>(v.data())}) {
      const SearchPlan& plan = grid_codec->plan(importance != nullptr);
      std::vector<GridParams> expected(static_cast<size_t>(blocks)), got(expected.size());
      search_targets().back().search(spec, plan, w.data(), importance, period, blocks, expected.data());
      for (const SearchTarget& target : search_targets()) {
        target.search(spec, plan, w.data(), importance, period, blocks, got.data());
        ASSERT_EQ(std::memcmp(expected.data(), got.data(), expected.size() * sizeof(GridParams)), 0)
            << codec->name() << " " << target_name(target.target);
        for (int64_t b = 0; b < blocks; ++b) {
          BlockGrid grid;
          expand_grid(spec, expected[static_cast<size_t>(b)], grid);
          std::vector<int8_t> reference(static_cast<size_t>(spec.sub)), codes(reference.size());
          for (int j = 0; j < spec.subs(); ++j) {
            const float* x = w.data() + b * spec.block + j * spec.sub;
            const auto at = static_cast<size_t>(j);
            search_targets().back().round(spec, grid.scale[at], grid.offset[at], spec.sub, x, reference.data());
            target.round(spec, grid.scale[at], grid.offset[at], spec.sub, x, codes.data());
            ASSERT_EQ(reference, codes) << codec->name() << " " << target_name(target.target);
          }
        }
      }
    }
  }
}

TEST(SearchTargets, AreThoseOfTheMachine) {
  const auto supported = supported_targets();
  ASSERT_EQ(search_targets().size(), supported.size());
  for (size_t i = 0; i < supported.size(); ++i) EXPECT_EQ(search_targets()[i].target, supported[i]);
  EXPECT_EQ(active_search_target().target, active_target().value());
}

}  // namespace
}  // namespace lissom
