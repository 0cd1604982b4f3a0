#include "compress/algorithms/error_feedback/rounding.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "compress/algorithms/error_feedback/matrix.h"
#include "compress/algorithms/error_feedback/testing.h"

namespace lissom {
namespace {

using testing::coupled_moments;
using testing::gaussian;

double mean_diagonal(const SquareMatrix& h) {
  double sum = 0;
  for (int64_t i = 0; i < h.n; ++i) sum += double{h.row(i)[i]};
  return sum / static_cast<double>(h.n);
}

double output_error(ThreadPool& pool, const BlockCodec& codec, const std::vector<float>& w,
                    const std::vector<std::byte>& bytes, const SquareMatrix& h) {
  std::vector<float> e(w.size());
  codec.decode_blocks(bytes.data(), static_cast<int64_t>(w.size()) / codec.block_weights(), e.data());
  for (size_t i = 0; i < w.size(); ++i) e[i] = w[i] - e[i];
  std::vector<double> rows(w.size() / static_cast<size_t>(h.n));
  quadratic_forms(pool, h, e.data(), static_cast<int64_t>(rows.size()), rows.data());
  double sum = 0;
  for (const double v : rows) sum += v;
  return sum;
}

std::vector<std::byte> plain(const BlockCodec& codec, const std::vector<float>& w,
                             const std::vector<float>& importance) {
  const auto n = static_cast<int64_t>(w.size()) / codec.block_weights();
  std::vector<std::byte> bytes(static_cast<size_t>(n * codec.block_bytes()));
  codec.encode_blocks(w.data(), importance.data(),
                      static_cast<int64_t>(importance.size()) / codec.block_weights(), n, bytes.data());
  return bytes;
}

std::vector<float> diagonal(const SquareMatrix& h) {
  std::vector<float> d;
  for (int64_t i = 0; i < h.n; ++i) d.push_back(h.row(i)[i]);
  return d;
}

TEST(Products, EveryTargetMultipliesLikeTheDefinition) {
  constexpr int64_t kDepth = 13;
  const std::vector<float> a = gaussian(kDepth * 11, 1), b = gaussian(kDepth * 35, 2);
  for (const Target target : supported_targets()) {
    std::vector<float> c(8 * 40, 1.0F);
    product_tile(target)(kDepth, a.data() + 2, 11, b.data() + 3, 35, c.data(), 40);
    for (size_t i = 0; i < 8; ++i)
      for (size_t j = 0; j < 40; ++j) {
        double sum = 1;
        for (size_t k = 0; k < kDepth && j < 32; ++k)
          sum += double{a[2 + k * 11 + i]} * double{b[3 + k * 35 + j]};
        EXPECT_NEAR(c[i * 40 + j], sum, 1e-6) << target_name(target) << " " << i << " " << j;
      }
  }
}

TEST(Products, MomentsAreThoseOfTheWeighedRows) {
  constexpr int64_t kRows = 9, kCols = 70;
  const std::vector<float> x = gaussian(kRows * kCols, 3);
  std::vector<float> weight(kRows, 1.0F), packed;
  weight[4] = 0.25F;
  ThreadPool pool(2);
  SquareMatrix h(kCols);
  add_gram(pool, x.data(), weight.data(), kRows, h, packed);
  add_gram(pool, x.data(), nullptr, kRows, h, packed);
  mirror(h);
  for (int64_t i = 0; i < kCols; ++i)
    for (int64_t j = 0; j < kCols; ++j) {
      double sum = 0;
      for (int64_t r = 0; r < kRows; ++r)
        sum += (1 + double{weight[static_cast<size_t>(r)]}) * double{x[static_cast<size_t>(r * kCols + i)]} *
               double{x[static_cast<size_t>(r * kCols + j)]};
      EXPECT_NEAR(h.row(i)[j], sum, 1e-6) << i << " " << j;
    }
}

TEST(Factor, MultipliesBackToTheMatrix) {
  ThreadPool pool(2);
  const SquareMatrix h = coupled_moments(pool, 100, 300, 5);
  const auto damping = static_cast<float>(0.01 * mean_diagonal(h));
  Factor f;
  ASSERT_TRUE(factorise(pool, h, damping, f));
  std::vector<float> a(32 * 32), d(32);
  ASSERT_TRUE(factorise_part(h, damping, 32, 32, a.data(), d.data()));
  for (int64_t i = 0; i < h.n; ++i)
    for (int64_t j = 0; j < h.n; ++j) {
      double sum = 0, part = 0;
      for (int64_t k = std::max(i, j); k < h.n; ++k)
        sum += double{f.a.row(i)[k]} * double{f.d[static_cast<size_t>(k)]} * double{f.a.row(j)[k]};
      const double expected = double{h.row(i)[j]} + (i == j ? double{damping} : 0.0);
      EXPECT_NEAR(sum, expected, 1e-4 * mean_diagonal(h)) << i << " " << j;
      if (std::min(i, j) < 32 || std::max(i, j) >= 64) continue;
      for (size_t k = 0; k < 32; ++k)
        part += double{a[static_cast<size_t>(i - 32) * 32 + k]} * double{d[k]} *
                double{a[static_cast<size_t>(j - 32) * 32 + k]};
      EXPECT_NEAR(part, expected, 1e-4 * mean_diagonal(h)) << i << " " << j;
    }
}

TEST(Rounding, EveryCodecLosesLessOutputThanItsSearch) {
  constexpr int64_t kRows = 20, kCols = 512;
  ThreadPool pool(2);
  const SquareMatrix h = coupled_moments(pool, kCols, 2000, 7);
  const std::vector<float> w = gaussian(kRows * kCols, 8);
  for (const Codec* any : codecs()) {
    const auto* codec = dynamic_cast<const BlockCodec*>(any);
    if (codec == nullptr) continue;
    FeedbackMetric metric;
    ASSERT_TRUE(metric.prepare(pool, h, static_cast<float>(0.01 * mean_diagonal(h)), *codec));
    const std::vector<std::byte> before = plain(*codec, w, diagonal(h));
    std::vector<std::byte> fed(before.size()), refined(before.size());
    round_with_feedback(pool, *codec, kRows, w.data(), metric, {.refinements = 0}, nullptr, fed.data());
    round_with_feedback(pool, *codec, kRows, w.data(), metric, {.refinements = 1}, before.data(),
                        refined.data());
    const double without = output_error(pool, *codec, w, before, h);
    const double with = output_error(pool, *codec, w, fed, h);
    const double more = output_error(pool, *codec, w, refined, h);
    if (without == 0) {  // F32 and F64 lose nothing
      EXPECT_EQ(more, 0) << codec->name();
      continue;
    }
    // A codebook's points are sparse: far-off weights that make up for much are near none of them, and the pass
    // from left to right runs away. Then the descent begins where the search ended.
    if (codec->round_width() == 1) {
      EXPECT_LT(with, 0.95 * without) << codec->name();
    }
    EXPECT_LT(more, 0.98 * without) << codec->name();
  }
}

TEST(Rounding, WithoutCorrelationTheBytesAreTheSearchs) {
  constexpr int64_t kRows = 5, kCols = 512;
  ThreadPool pool(2);
  SquareMatrix h(kCols);
  for (int64_t i = 0; i < kCols; ++i) h.row(i)[i] = 3.0F;
  const std::vector<float> w = gaussian(kRows * kCols, 9), ones(kCols, 1.0F);
  for (const Codec* any : codecs()) {
    const auto* codec = dynamic_cast<const BlockCodec*>(any);
    if (codec == nullptr) continue;
    FeedbackMetric metric;
    ASSERT_TRUE(metric.prepare(pool, h, 0, *codec));
    const std::vector<std::byte> expected = plain(*codec, w, ones);
    std::vector<std::byte> bytes(expected.size());
    round_with_feedback(pool, *codec, kRows, w.data(), metric, {.parameter_rounds = 1, .refinements = 0},
                        nullptr, bytes.data());
    EXPECT_EQ(bytes, expected) << codec->name();
  }
}

/// Two columns hang together, all others are 0 and stay so: every pair of codes on the grid can be tried.
TEST(Rounding, FindsWhatTryingAllCodesFinds) {
  const BlockCodec& codec = *find_block_codec("Q4_0");
  ThreadPool pool(1);
  SquareMatrix h(32);
  for (int64_t i = 0; i < 32; ++i) h.row(i)[i] = 1;
  h.row(3)[20] = h.row(20)[3] = 0.4F;
  int best = 0;
  constexpr int kCases = 40;
  for (int n = 0; n < kCases; ++n) {
    std::vector<float> w(32);
    const std::vector<float> values = gaussian(3, 100 + static_cast<uint64_t>(n));
    w[3] = values[0];
    w[20] = values[1];
    w[7] = 0.2F;
    FeedbackMetric metric;
    ASSERT_TRUE(metric.prepare(pool, h, 0, codec));
    std::vector<std::byte> bytes(static_cast<size_t>(codec.block_bytes()));
    round_with_feedback(pool, codec, 1, w.data(), metric, {}, nullptr, bytes.data());
    BlockGrid grid;
    int8_t codes[32];
    codec.unpack(bytes.data(), grid, codes);
    const auto error_with = [&](int a, int b) {
      codes[3] = static_cast<int8_t>(a);
      codes[20] = static_cast<int8_t>(b);
      float back[32];
      codec.values(grid, 0, 32, codes, back);
      const double x = double{w[3]} - double{back[3]}, y = double{w[20]} - double{back[20]};
      return x * x + y * y + 0.8 * x * y;
    };
    const double found = error_with(codes[3], codes[20]);
    double least = found;
    for (int a = -8; a < 8; ++a)
      for (int b = -8; b < 8; ++b) least = std::min(least, error_with(a, b));
    if (found <= least + 1e-9) ++best;
    EXPECT_LT(found, 1.5 * least + 1e-9) << n;
  }
  EXPECT_GE(best, kCases * 9 / 10);
}

TEST(FeedBack, HostileMomentsStillGiveTheSearchOrBetter) {
  constexpr int64_t kRows = 7, kCols = 256;
  ThreadPool pool(2);
  const std::vector<float> w = gaussian(kRows * kCols, 11);
  const double dampings[] = {0.01};
  for (const char* name : {"Q4_0", "Q2_K", "IQ2_S"}) {
    const BlockCodec& codec = *find_block_codec(name);
    for (int kind = 0; kind < 4; ++kind) {
      InputMoments moments{SquareMatrix(kCols), SquareMatrix(kCols)};  // 0: nothing was ever seen
      if (kind == 1) moments.fit = moments.judge = coupled_moments(pool, kCols, 1, 12);  // of rank one
      if (kind == 2) {  // columns that are always zero
        moments.fit = moments.judge = coupled_moments(pool, kCols, 500, 13);
        for (SquareMatrix* h : {&moments.fit, &moments.judge})
          for (int64_t i = 0; i < kCols; ++i)
            for (int64_t j = 0; j < kCols; ++j)
              if (i < 64 || j < 64) h->row(i)[j] = 0;
      }
      if (kind == 3) {  // one feature drowns all others
        moments.fit = moments.judge = coupled_moments(pool, kCols, 500, 14);
        moments.fit.row(5)[5] = 1e20F;
      }
      const FeedbackMatrix found = feed_back(pool, codec, kRows, w, {}, moments, {}, dampings, 1);
      EXPECT_LE(found.judged, found.plain) << name << kind;
      EXPECT_LE(found.searched_rows, kRows);
      std::vector<float> back(w.size());
      codec.decode_blocks(found.bytes.data(), kRows * kCols / codec.block_weights(), back.data());
      for (const float v : back) ASSERT_TRUE(std::isfinite(v)) << name << kind;
      if (kind == 0) {
        EXPECT_EQ(found.searched_rows, kRows) << name;
        EXPECT_EQ(found.damping, 0) << name;
      }
    }
  }
}

TEST(FeedBack, NoRowIsWorseOnWhatItIsJudgedBy) {
  constexpr int64_t kRows = 40, kCols = 256;
  ThreadPool pool(2);
  const std::vector<float> w = gaussian(kRows * kCols, 15);
  // They have nothing to do with each other, so that feedback rarely helps.
  const InputMoments moments{coupled_moments(pool, kCols, 300, 16), coupled_moments(pool, kCols, 40, 99)};
  const BlockCodec& codec = *find_block_codec("IQ3_S");
  const double dampings[] = {0.001, 1.0};
  const FeedbackMatrix found =
      feed_back(pool, codec, kRows, w, diagonal(moments.fit), moments, {}, dampings, 1);
  EXPECT_LE(found.judged, found.plain);
  EXPECT_NEAR(found.judged, output_error(pool, codec, w, found.bytes, moments.judge), 1e-3 * found.judged);
  EXPECT_NEAR(found.plain, output_error(pool, codec, w, plain(codec, w, diagonal(moments.fit)), moments.judge),
              1e-3 * found.plain);
}

/// tr(G·E·H·Eᵀ), as it is written.
double coupled_error(const BlockCodec& codec, std::span<const float> w, const std::vector<std::byte>& bytes,
                     const SquareMatrix& g, const SquareMatrix& h) {
  const int64_t rows = g.n, n = h.n;
  std::vector<float> error(w.size());
  codec.decode_blocks(bytes.data(), rows * n / codec.block_weights(), error.data());
  for (size_t i = 0; i < error.size(); ++i) error[i] = w[i] - error[i];
  double sum = 0;
  for (int64_t r = 0; r < rows; ++r) {
    std::vector<double> by_h(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < n; ++j)
        by_h[static_cast<size_t>(j)] += double{error[static_cast<size_t>(r * n + i)]} * double{h.row(i)[j]};
    for (int64_t s = 0; s < rows; ++s) {
      double product = 0;
      for (int64_t j = 0; j < n; ++j)
        product += by_h[static_cast<size_t>(j)] * double{error[static_cast<size_t>(s * n + j)]};
      sum += double{g.row(r)[s]} * product;
    }
  }
  return sum;
}

TEST(FeedBack, CoupledRowsMakeUpForEachOther) {
  constexpr int64_t kRows = 96, kCols = 256;
  ThreadPool pool(2);
  const std::vector<float> w = gaussian(kRows * kCols, 31);
  const SquareMatrix h = coupled_moments(pool, kCols, 2000, 32);
  const SquareMatrix g = coupled_moments(pool, kRows, 2000, 33);
  const InputMoments moments{h, h};
  std::vector<float> outputs;
  for (int64_t r = 0; r < kRows; ++r) outputs.insert(outputs.end(), g.row(r), g.row(r) + kRows);
  const double dampings[] = {0.1};
  for (const char* name : {"IQ2_S", "IQ3_S", "Q4_0"}) {
    const BlockCodec& codec = *find_block_codec(name);
    const FeedbackMatrix alone = feed_back(pool, codec, kRows, w, {}, moments, {}, dampings, 1);
    const FeedbackMatrix coupled = feed_back(pool, codec, kRows, w, {}, moments, outputs, dampings, 1);
    EXPECT_FALSE(alone.coupled);
    EXPECT_TRUE(coupled.coupled);
    EXPECT_EQ(coupled.searched_rows, 0);
    EXPECT_LT(coupled.judged, 0.9 * coupled.plain);
    EXPECT_LT(coupled_error(codec, w, coupled.bytes, g, h), 0.98 * coupled_error(codec, w, alone.bytes, g, h))
        << name;
  }
}

TEST(FeedBack, OutputsOfNoUseCoupleNothing) {
  constexpr int64_t kRows = 40, kCols = 256;
  ThreadPool pool(2);
  const std::vector<float> w = gaussian(kRows * kCols, 34);
  const SquareMatrix h = coupled_moments(pool, kCols, 2000, 35);
  const InputMoments moments{h, h};
  const BlockCodec& codec = *find_block_codec("IQ2_S");
  const double dampings[] = {0.1};
  const FeedbackMatrix alone = feed_back(pool, codec, kRows, w, {}, moments, {}, dampings, 1);
  std::vector<float> outputs(kRows * kRows);
  const auto same = [&](const char* which) {
    const FeedbackMatrix found = feed_back(pool, codec, kRows, w, {}, moments, outputs, dampings, 1);
    EXPECT_FALSE(found.coupled) << which;
    EXPECT_EQ(found.bytes, alone.bytes) << which;
  };
  same("zeros");
  for (int64_t r = 0; r < kRows; ++r) outputs[static_cast<size_t>(r * kRows + r)] = NAN;
  same("NaN");
  for (int64_t r = 0; r < kRows; ++r) outputs[static_cast<size_t>(r * kRows + r)] = -1;
  same("indefinite");
  outputs.pop_back();
  same("another size");
}

/// Latents, rounded on the grids of `bytes`.
std::vector<std::byte> on_grids(const BlockCodec& codec, std::span<const float> latents,
                                std::span<const float> importance, std::vector<std::byte> bytes) {
  const auto size = static_cast<size_t>(codec.block_weights()),
             block = static_cast<size_t>(codec.block_bytes());
  BlockGrid grid;
  std::vector<int8_t> codes(size);
  for (size_t b = 0; b < latents.size() / size; ++b) {
    codec.unpack(bytes.data() + b * block, grid, codes.data());
    codec.round(grid, 0, static_cast<int>(size), latents.data() + b * size,
                importance.data() + b * size % importance.size(), codes.data());
    codec.pack(grid, codes.data(), bytes.data() + b * block);
  }
  return bytes;
}

TEST(Rounding, OnItsGridLatentsRoundToWhatFeedbackFound) {
  constexpr int64_t kRows = 16, kCols = 512;
  ThreadPool pool(2);
  const InputMoments moments{coupled_moments(pool, kCols, 2000, 21), coupled_moments(pool, kCols, 200, 22)};
  const std::vector<float> w = gaussian(kRows * kCols, 23), importance = diagonal(moments.fit);
  const double dampings[] = {0.01, 0.1, 0.3, 1};
  for (const Codec* each : codecs()) {
    const auto* codec = dynamic_cast<const BlockCodec*>(each);
    if (codec == nullptr || codec->block_bytes() >= codec->block_weights() || codec->round_width() > 1)
      continue;
    const FeedbackMatrix found = feed_back(pool, *codec, kRows, w, importance, moments, {}, dampings, 1);
    ASSERT_EQ(found.latents.size(), w.size());
    EXPECT_EQ(on_grids(*codec, found.latents, importance, found.bytes), found.bytes) << codec->name();
  }
}

}  // namespace
}  // namespace lissom
