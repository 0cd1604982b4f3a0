// The grids and the search of the vector codebooks.

#include "codec/codebook/codebook.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <random>

#include "codec/codebook/target.h"
#include "codec/search/search.h"

namespace lissom {
namespace {

std::vector<const CodebookCodec*> codebook_codecs() {
  std::vector<const CodebookCodec*> list;
  for (const Codec* codec : codecs())
    if (const auto* mine = dynamic_cast<const CodebookCodec*>(codec)) list.push_back(mine);
  return list;
}

std::vector<float> weights(size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 0.02F);
  std::vector<float> w(n);
  for (size_t i = 0; i < n; ++i) {
    const float scales[] = {1, 1, 1e-6F, 1e5F, 0, 30};
    w[i] = normal(random) * scales[i / 256 % 6] * (i / 64 % 7 == 3 && random() % 20 == 0 ? 40.0F : 1.0F);
  }
  return w;
}

std::vector<float> importances(size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 2);
  std::vector<float> v(n);
  for (float& x : v) x = random() % 5 != 0 ? std::exp(normal(random)) : 0.0F;
  return v;
}

TEST(Codebook, PointsAreTheirOwnNearest) {
  for (const CodebookCodec* codec : codebook_codecs()) {
    const CodebookSpec& spec = codec->spec();
    const Codebook& book = codec->codebook();
    for (int p = 0; p < spec.points; ++p) {
      const PointWord word = book.word(p);
      ASSERT_EQ(book.find(word), p) << codec->name();
      int number = 0;
      for (int i = spec.dims - 1; i >= 0; --i)
        number = number * spec.base + static_cast<int>(word >> (4 * i) & 15U);
      ASSERT_EQ(book.nearest()[number * Codebook::kNearest], word) << codec->name();
    }
  }
}

TEST(Codebook, EveryTargetChoosesAndRoundsTheSame) {
  EXPECT_EQ(codebook_targets().size(), search_targets().size());
  for (const CodebookCodec* codec : codebook_codecs()) {
    const CodebookSpec& spec = codec->spec();
    const int64_t blocks = 13, period = 5;
    const auto w = weights(static_cast<size_t>(blocks * 256), 1);
    const auto raw = importances(static_cast<size_t>(period * 256), 2);
    std::vector<float> v(raw.size());
    const GridSpec shape{GridKind::sub_scale, 256, spec.sub, 0, 0, 0, 0, 0, nullptr, 0};
    normalise_importance(shape, raw.data(), period, v.data());
    for (const float* importance : {static_cast<const float*>(nullptr), static_cast<const float*>(v.data())}) {
      std::vector<CodebookParams> expected(static_cast<size_t>(blocks)), got(expected.size());
      codebook_targets().back().search(spec, codec->codebook(), w.data(), importance, period, blocks,
                                       expected.data());
      std::vector<float> scale(32), ones(256, 1.0F);
      std::vector<uint8_t> shift(32);
      for (size_t o = 0; o < 32; ++o) {
        scale[o] = 0.001F * static_cast<float>(o % 5);
        shift[o] = o % 3 == 0;
      }
      std::vector<int8_t> expected_codes(256), codes(256);
      const float* weigh = importance != nullptr ? importance : ones.data();
      codebook_targets().back().round(spec, codec->codebook(), 32, scale.data(), shift.data(), w.data(), weigh,
                                      expected_codes.data());
      for (const CodebookTarget& target : codebook_targets()) {
        target.search(spec, codec->codebook(), w.data(), importance, period, blocks, got.data());
        for (size_t b = 0; b < expected.size(); ++b) {
          EXPECT_EQ(expected[b].d, got[b].d) << codec->name() << " " << target_name(target.target) << " " << b;
          EXPECT_EQ(expected[b].negative, got[b].negative)
              << codec->name() << " " << target_name(target.target);
          EXPECT_EQ(std::memcmp(expected[b].s, got[b].s, sizeof got[b].s), 0)
              << codec->name() << " " << target_name(target.target);
        }
        target.round(spec, codec->codebook(), 32, scale.data(), shift.data(), w.data(), weigh, codes.data());
        EXPECT_EQ(expected_codes, codes) << codec->name() << " " << target_name(target.target);
      }
    }
  }
}

/// All points and signs that the type allows, one by one.
double least_error(const CodebookSpec& spec, const Codebook& book, const float* w, const float* v,
                   float scale) {
  double total = 0;
  for (int part = 0; part < 8; part += spec.dims) {
    double best = HUGE_VAL;
    for (int p = 0; p < spec.points; ++p) {
      double error = 0;
      for (int i = 0; i < spec.dims; ++i) {
        const float level = spec.levels[book.word(p) >> (4 * i) & 15U];
        const double x =
            static_cast<double>(spec.signs == SignBits::none ? w[part + i] : std::fabs(w[part + i]));
        const double e = x - static_cast<double>(scale * level);
        error += static_cast<double>(v[part + i]) * e * e;
      }
      best = std::min(best, error);
    }
    total += best;
  }
  return total;
}

/// Where all signs are free, what is found is hardly worse than the best of all points.
TEST(Codebook, RoundingFindsNearlyTheBestPoints) {
  for (const CodebookCodec* codec : codebook_codecs()) {
    const CodebookSpec& spec = codec->spec();
    if (spec.signs == SignBits::even || spec.shifts == ShiftBits::eight) continue;
    const auto w = [] {
      std::mt19937 random(3);
      std::normal_distribution<float> normal;
      std::vector<float> x(256);
      for (float& value : x) value = normal(random);
      return x;
    }();
    std::mt19937 random(4);
    std::vector<float> v(256), scale(32, 1.3F / spec.levels[spec.base - 1]);
    for (float& x : v) x = std::exp(std::normal_distribution<float>(0, 1)(random));
    const std::vector<uint8_t> shift(32, 0);
    std::vector<int8_t> codes(256);
    active_codebook_target().round(spec, codec->codebook(), 32, scale.data(), shift.data(), w.data(), v.data(),
                                   codes.data());
    double found = 0, least = 0;
    for (size_t o = 0; o < 32; ++o) {
      least += least_error(spec, codec->codebook(), w.data() + 8 * o, v.data() + 8 * o, scale[o]);
      for (size_t i = 8 * o; i < 8 * o + 8; ++i) {
        const double e =
            static_cast<double>(w[i]) - static_cast<double>(scale[o]) * static_cast<double>(codes[i]);
        found += static_cast<double>(v[i]) * e * e;
      }
    }
    EXPECT_GE(found, least * 0.9999) << codec->name();
    EXPECT_LE(found, least * 1.03) << codec->name();
  }
}

TEST(Codebook, EightSignsAreEvenWhereOnlySevenAreKept) {
  for (const CodebookCodec* codec : codebook_codecs()) {
    if (codec->spec().signs != SignBits::even) continue;
    const auto w = weights(2560, 5);
    for (size_t b = 0; b < 10; ++b) {
      BlockGrid grid;
      int8_t codes[256];
      codec->choose(w.data() + 256 * b, nullptr, grid);
      codec->round(grid, 0, 256, w.data() + 256 * b, nullptr, codes);
      for (int o = 0; o < 32; ++o) {
        int negative = 0;
        for (int i = 0; i < 8; ++i) negative += codes[8 * o + i] < 0;
        EXPECT_EQ(negative % 2, 0) << codec->name();
      }
    }
  }
}

}  // namespace
}  // namespace lissom
