// The contract that every codec keeps, checked for all of them at once.

#include "lissom/codec.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "base/half.h"

namespace lissom {
namespace {

using Parts = std::vector<std::vector<std::byte>>;

std::vector<const BlockCodec*> block_codecs() {
  std::vector<const BlockCodec*> list;
  for (const Codec* codec : codecs())
    if (const auto* block = dynamic_cast<const BlockCodec*>(codec)) list.push_back(block);
  return list;
}

std::vector<float> gaussian(size_t n, unsigned seed, float sigma = 0.02F) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, sigma);
  std::vector<float> w(n);
  for (float& x : w) x = normal(random);
  return w;
}

/// Mean squares of activations: log-normal.
std::vector<float> importances(size_t n, unsigned seed) {
  std::vector<float> v = gaussian(n, seed, 1.2F);
  for (float& x : v) x = std::exp(x);
  return v;
}

Parts encode(const Codec& codec, const Shape& shape, const std::vector<float>& w,
             const std::vector<float>& v = {}) {
  auto parts = encode_checked(codec, "w", shape, w, v);
  EXPECT_TRUE(parts) << codec.name() << ": " << parts.error().message;
  return parts ? *parts : Parts{};
}

std::vector<float> decode(const Codec& codec, const Shape& shape, const Parts& parts) {
  std::vector<std::span<const std::byte>> views(parts.begin(), parts.end());
  std::vector<float> out(static_cast<size_t>(shape.elements()));
  codec.decode_rows(shape, views, 0, shape.rows(), out.data());
  return out;
}

std::vector<float> round_trip(const Codec& codec, const Shape& shape, const std::vector<float>& w,
                              const std::vector<float>& v = {}) {
  return decode(codec, shape, encode(codec, shape, w, v));
}

double squared_error(const std::vector<float>& w, const std::vector<float>& back,
                     const std::vector<float>& v = {}) {
  double error = 0;
  for (size_t i = 0; i < w.size(); ++i) {
    const double e = static_cast<double>(w[i]) - static_cast<double>(back[i]);
    error += e * e * (v.empty() ? 1.0 : static_cast<double>(v[i % v.size()]));
  }
  return error;
}

double energy(const std::vector<float>& w) {
  return squared_error(w, std::vector<float>(w.size(), 0.0F));
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

/// Every value of `back` lies within this part of the largest magnitude of `w`: what the error interval allows,
/// several times over.
double tolerance(const Codec& codec) {
  return 4 * codec.error_interval().high + 1e-6;
}

TEST(Codecs, NamesAreUniqueAndFound) {
  for (const Codec* codec : codecs()) EXPECT_EQ(find_codec(codec->name()), codec) << codec->name();
  EXPECT_EQ(find_codec("Q4_Z"), nullptr);
  EXPECT_EQ(find_block_codec("Q4_K"), find_codec("Q4_K"));
}

TEST(Codecs, BitsPerWeightAreThoseOfTheBlocks) {
  const Shape shape{2, 256};
  const std::pair<const char*, double> expected[] = {
      {"F32", 32},       {"F16", 16},        {"Q8_0", 8.5},       {"Q4_0", 4.5},     {"Q4_1", 5},
      {"Q5_0", 5.5},     {"Q5_1", 6},        {"Q2_K", 2.625},     {"Q3_K", 3.4375},  {"Q4_K", 4.5},
      {"Q5_K", 5.5},     {"Q6_K", 6.5625},   {"IQ4_NL", 4.5},     {"IQ4_XS", 4.25},  {"TQ1_0", 1.6875},
      {"TQ2_0", 2.0625}, {"MXFP4", 4.25},    {"NVFP4", 4.5},      {"IQ3_S", 3.4375}, {"IQ3_XXS", 3.0625},
      {"IQ2_S", 2.5625}, {"IQ2_XS", 2.3125}, {"IQ2_XXS", 2.0625}, {"IQ1_M", 1.75},   {"IQ1_S", 1.5625}};
  for (const auto& [name, bits] : expected) EXPECT_EQ(find_codec(name)->bits_per_weight(shape), bits) << name;
}

TEST(Codecs, EveryHalfDecodesToItsValue) {
  // In order, so that runs of NaN follow runs without; then each among finite ones.
  for (const uint32_t stride : {1U, 25173U}) {
    std::vector<uint16_t> halves(65536);
    for (uint32_t i = 0; i < 65536; ++i) halves[i] = static_cast<uint16_t>(i * stride);
    std::vector<float> decoded(halves.size());
    find_block_codec("F16")->decode_blocks(reinterpret_cast<const std::byte*>(halves.data()),
                                           static_cast<int64_t>(halves.size()), decoded.data());
    for (size_t i = 0; i < halves.size(); ++i)
      ASSERT_EQ(std::bit_cast<uint32_t>(decoded[i]), std::bit_cast<uint32_t>(half_to_float(halves[i]))) << i;
  }
}

TEST(Codecs, GaussianErrorLiesInTheInterval) {
  const Shape shape{16, 512};
  const auto w = gaussian(static_cast<size_t>(shape.elements()), 1);
  for (const Codec* codec : codecs()) {
    const double error = std::sqrt(squared_error(w, round_trip(*codec, shape, w)) / energy(w));
    EXPECT_GE(error, codec->error_interval().low) << codec->name();
    EXPECT_LE(error, codec->error_interval().high) << codec->name();
  }
}

TEST(Codecs, UnpackThenPackGivesTheSameBytes) {
  std::mt19937 random(2);
  for (const BlockCodec* codec : block_codecs()) {
    std::vector<std::byte> block(static_cast<size_t>(codec->block_bytes())), again(block.size());
    std::vector<int8_t> codes(static_cast<size_t>(codec->block_weights()));
    for (int trial = 0; trial < 200; ++trial) {
      for (std::byte& b : block) b = static_cast<std::byte>(random());
      BlockGrid grid;
      codec->unpack(block.data(), grid, codes.data());
      codec->pack(grid, codes.data(), again.data());
      if (codec->name() ==
          "TQ1_0") {  // 256 bytes hold 243 combinations: the first packing picks one of the equals
        block = again;
        std::vector<int8_t> same(codes.size());
        codec->unpack(block.data(), grid, same.data());
        ASSERT_EQ(codes, same);
        codec->pack(grid, same.data(), again.data());
      }
      ASSERT_EQ(block, again) << codec->name();
    }
  }
}

TEST(Codecs, StepsGiveTheBytesOfEncodeAndTheValuesOfDecode) {
  for (const BlockCodec* codec : block_codecs()) {
    const int n = codec->block_weights();
    for (unsigned trial = 0; trial < 20; ++trial) {
      const auto w = gaussian(static_cast<size_t>(n), trial),
                 v = importances(static_cast<size_t>(n), trial + 100);
      const float* importance = trial % 2 ? v.data() : nullptr;
      BlockGrid grid;
      std::vector<int8_t> codes(static_cast<size_t>(n));
      std::vector<float> values(codes.size()), decoded(codes.size());
      std::vector<std::byte> block(static_cast<size_t>(codec->block_bytes())), encoded(block.size());
      codec->choose(w.data(), importance, grid);
      codec->round(grid, 0, n, w.data(), importance, codes.data());
      codec->values(grid, 0, n, codes.data(), values.data());
      codec->pack(grid, codes.data(), block.data());
      codec->decode_blocks(block.data(), 1, decoded.data());
      codec->encode_blocks(w.data(), importance, 1, 1, encoded.data());
      ASSERT_TRUE(same_bits(values, decoded)) << codec->name();
      ASSERT_EQ(block, encoded) << codec->name();
    }
  }
}

TEST(Codecs, RoundingAPartEqualsRoundingTheWhole) {
  for (const BlockCodec* codec : block_codecs()) {
    const int n = codec->block_weights();
    if (n == 1) continue;
    const auto w = gaussian(static_cast<size_t>(n), 3);
    BlockGrid grid;
    codec->choose(w.data(), nullptr, grid);
    std::vector<int8_t> whole(static_cast<size_t>(n)), parts(whole.size());
    codec->round(grid, 0, n, w.data(), nullptr, whole.data());
    for (int first = 0, step = codec->round_width(); first < n; step += codec->round_width()) {
      const int count = std::min(step, n - first);
      codec->round(grid, first, count, w.data() + first, nullptr, parts.data() + first);
      first += count;
    }
    EXPECT_EQ(whole, parts) << codec->name();
  }
}

TEST(Codecs, CodesAreTheNearestOnTheGrid) {
  for (const BlockCodec* codec : block_codecs()) {
    const int n = codec->block_weights();
    if (n == 1 || codec->round_width() != 1) continue;
    const auto w = gaussian(static_cast<size_t>(n), 4);
    BlockGrid grid;
    codec->choose(w.data(), nullptr, grid);
    std::vector<int8_t> codes(static_cast<size_t>(n));
    codec->round(grid, 0, n, w.data(), nullptr, codes.data());
    for (int i = 0; i < n; ++i) {
      const auto at = static_cast<size_t>(i);
      float chosen = 0;
      codec->values(grid, i, 1, &codes[at], &chosen);
      for (int step : {-1, 1}) {
        // A neighbour that does not survive packing is no code of this codec.
        auto changed = codes;
        changed[at] = static_cast<int8_t>(codes[at] + step);
        std::vector<std::byte> block(static_cast<size_t>(codec->block_bytes()));
        codec->pack(grid, changed.data(), block.data());
        BlockGrid again;
        std::vector<int8_t> read(codes.size());
        codec->unpack(block.data(), again, read.data());
        if (read != changed) continue;
        if (codec->name() == "TQ2_0" && changed[at] == 2) continue;  // it reads back, but is no ternary weight
        float other = 0;
        codec->values(grid, i, 1, &changed[at], &other);
        EXPECT_LE(std::fabs(w[at] - chosen), std::fabs(w[at] - other) * 1.0001F + 1e-9F) << codec->name();
      }
    }
  }
}

TEST(Codecs, ManyBlocksEqualOneAtATime) {
  for (const BlockCodec* codec : block_codecs()) {
    const int n = codec->block_weights();
    const int64_t blocks = 37, period = 3;
    const auto w = gaussian(static_cast<size_t>(blocks * n), 5),
               v = importances(static_cast<size_t>(period * n), 6);
    const auto size = static_cast<size_t>(codec->block_bytes());
    std::vector<std::byte> together(static_cast<size_t>(blocks) * size), single(together.size());
    codec->encode_blocks(w.data(), v.data(), period, blocks, together.data());
    std::vector<BlockGrid> grids(static_cast<size_t>(blocks));
    codec->choose_blocks(w.data(), v.data(), period, blocks, grids.data());
    for (int64_t b = 0; b < blocks; ++b) {
      codec->encode_blocks(w.data() + b * n, v.data() + b % period * n, 1, 1,
                           single.data() + static_cast<size_t>(b) * size);
      BlockGrid grid;
      codec->choose(w.data() + b * n, v.data() + b % period * n, grid);
      EXPECT_EQ(grid.stored, grids[static_cast<size_t>(b)].stored) << codec->name();
    }
    EXPECT_EQ(together, single) << codec->name();
  }
}

/// Values that lie on a grid already are found again: the second error is at most a thousandth of the first,
/// and where a block has no parameters to search (the plain floats) the values are the same.
TEST(Codecs, ReencodingIsStable) {
  const Shape shape{8, 1024};
  const auto w = gaussian(static_cast<size_t>(shape.elements()), 7);
  const auto v = importances(1024, 8);
  for (const BlockCodec* codec : block_codecs())
    for (const auto& importance : {std::vector<float>{}, v}) {
      const auto once = round_trip(*codec, shape, w, importance);
      const auto twice = round_trip(*codec, shape, once, importance);
      if (codec->block_weights() == 1) {
        EXPECT_TRUE(same_bits(once, twice)) << codec->name();
      }
      const double first = squared_error(w, once, importance), second = squared_error(once, twice, importance);
      EXPECT_LE(second, first * 0.25) << codec->name() << (importance.empty() ? "" : " weighted");
    }
}

TEST(Codecs, ZerosStayZero) {
  const Shape shape{3, 256};
  const std::vector<float> w(static_cast<size_t>(shape.elements()), 0.0F);
  for (const Codec* codec : codecs())
    for (float x : round_trip(*codec, shape, w)) ASSERT_EQ(x, 0.0F) << codec->name();
}

TEST(Codecs, ConstantsComeBack) {
  const Shape shape{1, 256};
  for (const BlockCodec* codec : block_codecs()) {
    // Plain floats, and blocks whose scale is a power of two or a small float, have few values to offer.
    const bool coarse = codec->block_weights() == 1 || codec->name() == "MXFP4" || codec->name() == "NVFP4";
    for (float c : {0.37F, -0.37F, 0.03F, -100.0F}) {
      const std::vector<float> w(256, c);
      for (float x : round_trip(*codec, shape, w))
        ASSERT_NEAR(x, c, std::fabs(c) * ((coarse ? 1.8 : 0.2) * codec->error_interval().high + 1e-3))
            << codec->name();
    }
  }
}

TEST(Codecs, OneNonZeroComesBackAndTheRestStaysSmall) {
  const Shape shape{1, 256};
  for (const Codec* codec : codecs())
    for (size_t at : {size_t{0}, size_t{17}, size_t{255}})
      for (float c : {1.0F, -3.0F}) {
        std::vector<float> w(256, 0.0F);
        w[at] = c;
        const auto back = round_trip(*codec, shape, w);
        const auto* block = dynamic_cast<const BlockCodec*>(codec);
        // A codebook without a point of seven zeros, or a code whose weights are not chosen one by one.
        if (block != nullptr ? block->round_width() > 1 : codec->error_interval().high > 0.1) {
          EXPECT_GT(back[at] / c, 0.3F) << codec->name();
          EXPECT_LE(squared_error(w, back), 0.6 * energy(w)) << codec->name();
          continue;
        }
        EXPECT_NEAR(back[at], c, std::fabs(c) * 0.05) << codec->name();
        EXPECT_LE(squared_error(w, back), 2e-2) << codec->name() << " " << at;
      }
}

TEST(Codecs, OutliersKeepTheirPlace) {
  const Shape shape{4, 512};
  auto w = gaussian(static_cast<size_t>(shape.elements()), 9);
  for (size_t i = 5; i < w.size(); i += 97) w[i] *= 50;
  for (const Codec* codec : codecs()) {
    const auto back = round_trip(*codec, shape, w);
    EXPECT_LE(std::sqrt(squared_error(w, back) / energy(w)), tolerance(*codec)) << codec->name();
  }
}

TEST(Codecs, AllOfOneSign) {
  const Shape shape{4, 512};
  for (float sign : {1.0F, -1.0F}) {
    auto w = gaussian(static_cast<size_t>(shape.elements()), 10);
    for (float& x : w) x = sign * (std::fabs(x) + 0.05F);
    for (const Codec* codec : codecs()) {
      const auto back = round_trip(*codec, shape, w);
      EXPECT_LE(std::sqrt(squared_error(w, back) / energy(w)), 1.5 * codec->error_interval().high + 1e-9)
          << codec->name();
    }
  }
}

TEST(Codecs, DenormalsNeitherGrowNorTurnBad) {
  const Shape shape{1, 512};
  for (float size : {std::numeric_limits<float>::denorm_min(), 1e-40F, 1e-30F, 1e-12F, 3e-8F, 1e-6F}) {
    const auto w = gaussian(512, 11, size);
    for (const Codec* codec : codecs())
      for (const auto& v : {std::vector<float>{}, importances(512, 12)}) {
        const auto back = round_trip(*codec, shape, w, v);
        for (float x : back) ASSERT_TRUE(std::isfinite(x)) << codec->name();
        EXPECT_LE(squared_error(w, back, v), squared_error(w, std::vector<float>(512, 0.0F), v) * 1.001)
            << codec->name() << " " << size;
      }
  }
}

TEST(Codecs, LargestMagnitudesStayFinite) {
  const Shape shape{1, 512};
  for (const Codec* codec : codecs()) {
    std::vector<float> w(512);
    std::mt19937 random(13);
    for (float& x : w)
      x = codec->max_magnitude() * (random() % 2 ? 1.0F : -1.0F) * (random() % 3 ? 1.0F : 0.4F);
    const auto back = round_trip(*codec, shape, w);
    for (float x : back) ASSERT_TRUE(std::isfinite(x)) << codec->name();
    double worst = 0;
    for (size_t i = 0; i < w.size(); ++i)
      worst = std::max(worst, std::fabs(static_cast<double>(w[i]) - static_cast<double>(back[i])));
    EXPECT_LE(worst, static_cast<double>(codec->max_magnitude()) * tolerance(*codec)) << codec->name();
  }
}

TEST(Codecs, EncodingIsDeterministic) {
  const Shape shape{7, 768};
  const auto w = gaussian(static_cast<size_t>(shape.elements()), 14), v = importances(768, 15);
  for (const Codec* codec : codecs())
    EXPECT_EQ(encode(*codec, shape, w, v), encode(*codec, shape, w, v)) << codec->name();
}

TEST(Codecs, RowsDecodeFromAnywhere) {
  const Shape shape{9, 256};
  const auto w = gaussian(static_cast<size_t>(shape.elements()), 16);
  for (const Codec* codec : codecs()) {
    const auto parts = encode(*codec, shape, w);
    const auto all = decode(*codec, shape, parts);
    std::vector<std::span<const std::byte>> views(parts.begin(), parts.end());
    std::vector<float> some(3 * 256);
    codec->decode_rows(shape, views, 4, 3, some.data());
    EXPECT_TRUE(same_bits(some, {all.begin() + 4 * 256, all.begin() + 7 * 256})) << codec->name();
  }
}

TEST(Importance, ZeroForSomeColumnsOrWholeBlocksIsAllowed) {
  const Shape shape{4, 512};
  const auto w = gaussian(static_cast<size_t>(shape.elements()), 17);
  std::vector<float> v = importances(512, 18);
  for (size_t i = 0; i < 512; i += 3) v[i] = 0;
  std::fill(v.begin() + 32, v.begin() + 64, 0.0F);
  std::fill(v.begin() + 256, v.end(), 0.0F);
  for (const Codec* codec : codecs()) {
    const auto back = round_trip(*codec, shape, w, v);
    for (float x : back) ASSERT_TRUE(std::isfinite(x)) << codec->name();
    // What does not matter is still kept roughly.
    EXPECT_LE(std::sqrt(squared_error(w, back) / energy(w)), 0.2 + tolerance(*codec)) << codec->name();
  }
}

TEST(Importance, ExtremeValuesDoNoHarm) {
  const Shape shape{2, 256};
  const auto w = gaussian(512, 19);
  for (float size : {1e-40F, 1e-20F, 1e30F, 3e38F}) {
    const std::vector<float> v(256, size);
    for (const Codec* codec : codecs())
      EXPECT_LE(std::sqrt(squared_error(w, round_trip(*codec, shape, w, v)) / energy(w)),
                1.05 * codec->error_interval().high)
          << codec->name() << " " << size;
  }
}

TEST(Importance, AFavouredColumnIsKeptBetter) {
  const Shape shape{64, 256};
  const auto w = gaussian(static_cast<size_t>(shape.elements()), 20);
  std::vector<float> v(256, 1.0F), only(256, 0.0F);
  v[100] = 1e4F;
  only[100] = 1.0F;
  for (const BlockCodec* codec : block_codecs()) {
    if (codec->block_weights() == 1) continue;
    const double plain = squared_error(w, round_trip(*codec, shape, w), only);
    const double favoured = squared_error(w, round_trip(*codec, shape, w, v), only);
    // MXFP4's scales are powers of two, which leaves little to choose.
    EXPECT_LT(favoured, plain * (codec->name() == "MXFP4" ? 0.9 : 0.5)) << codec->name();
  }
}

TEST(Importance, WeightedSearchBeatsThePlainOneOnTheWeightedError) {
  const Shape shape{32, 512};
  const auto w = gaussian(static_cast<size_t>(shape.elements()), 21), v = importances(512, 22);
  for (const BlockCodec* codec : block_codecs()) {
    if (codec->block_weights() == 1) continue;
    EXPECT_LT(squared_error(w, round_trip(*codec, shape, w, v), v),
              squared_error(w, round_trip(*codec, shape, w), v))
        << codec->name();
  }
}

void expect_refused(const Codec& codec, const Shape& shape, const std::vector<float>& w,
                    const std::vector<float>& v, std::initializer_list<const char*> said) {
  const auto parts = encode_checked(codec, "blk.3.ffn_down.weight", shape, w, v);
  ASSERT_FALSE(parts) << codec.name();
  EXPECT_NE(parts.error().message.find("blk.3.ffn_down.weight"), std::string::npos);
  for (const char* text : said)
    EXPECT_NE(parts.error().message.find(text), std::string::npos) << parts.error().message;
}

TEST(Checked, BadWeightsAreRefusedWithTensorAndPlace) {
  const Shape shape{2, 256};
  for (const Codec* codec : codecs()) {
    auto w = gaussian(512, 23);
    w[300] = std::numeric_limits<float>::quiet_NaN();
    expect_refused(*codec, shape, w, {}, {"row 1", "column 44", "nan"});
    w[300] = -std::numeric_limits<float>::infinity();
    expect_refused(*codec, shape, w, {}, {"row 1", "column 44", "inf"});
    if (codec->max_magnitude() < std::numeric_limits<float>::max()) {
      w[300] = std::nextafter(codec->max_magnitude(), HUGE_VALF);
      expect_refused(*codec, shape, w, {}, {"row 1", "column 44", codec->name().data()});
    }
  }
}

TEST(Checked, BadImportanceIsRefused) {
  const Shape shape{2, 256};
  const auto w = gaussian(512, 24);
  for (const Codec* codec : codecs()) {
    expect_refused(*codec, shape, w, std::vector<float>(255, 1.0F), {"255", "256"});
    std::vector<float> v(256, 1.0F);
    v[7] = -1;
    expect_refused(*codec, shape, w, v, {"column 7", "-1"});
    v[7] = std::numeric_limits<float>::quiet_NaN();
    expect_refused(*codec, shape, w, v, {"column 7", "nan"});
    v[7] = std::numeric_limits<float>::infinity();
    expect_refused(*codec, shape, w, v, {"column 7", "inf"});
  }
}

TEST(Checked, ShapesThatDoNotFitAreRefused) {
  for (const Codec* codec : codecs()) {
    expect_refused(*codec, Shape{2, 256}, gaussian(511, 25), {}, {"511", "512"});
    expect_refused(*codec, Shape{-1, 256}, gaussian(256, 25), {}, {"[-1, 256]"});
    const int64_t huge = int64_t{1} << 62;
    expect_refused(*codec, Shape{huge, huge, 256}, {}, {}, {"shape"});
    if (codec->column_multiple() == 1) continue;
    const int64_t columns = codec->column_multiple() + 1;
    expect_refused(*codec, Shape{2, columns}, gaussian(static_cast<size_t>(2 * columns), 26), {},
                   {std::to_string(columns).c_str(), std::to_string(codec->column_multiple()).c_str()});
  }
}

TEST(Checked, EmptyTensorsHaveEmptyParts) {
  for (const Codec* codec : codecs()) {
    const auto parts = encode_checked(*codec, "w", Shape{0, 256}, {}, {});
    ASSERT_TRUE(parts) << codec->name();
    for (const auto& part : *parts) EXPECT_TRUE(part.empty());
  }
}

TEST(Checked, HigherRanksAreRowsOfTheLastDimension) {
  const auto w = gaussian(2 * 3 * 256, 27);
  for (const Codec* codec : codecs())
    EXPECT_EQ(encode(*codec, Shape{2, 3, 256}, w), encode(*codec, Shape{6, 256}, w)) << codec->name();
}

}  // namespace
}  // namespace lissom
