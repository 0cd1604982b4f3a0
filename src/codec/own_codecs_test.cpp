// What the codecs of lissom's own keep beyond the contract in codec_test.cpp: their bits, hostile shapes, the
// search and the kernels of the trellis, damaged components, parameters in names.

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>
#include <random>

#include "base/half.h"
#include "codec/family.h"
#include "codec/int4/expand.h"
#include "codec/panels.h"
#include "codec/parts.h"
#include "codec/trellis/trellis.h"
#include "codec/vectors/vectors.h"
#include "lissom/codec.h"

namespace lissom {
namespace {

using Bytes = std::vector<std::vector<std::byte>>;

const char* const kOwn[] = {"int4_awq_v1",      "int4_residual_v1",   "int4_g8_fp16_v1",  "int4_opt_llama_v1",
                            "tenpak_x_v1",      "calibrated_vq_v1",   "int4_ultimate_v1", "int4_hybrid_v2",
                            "lissom_2_v1",      "lissom_2_5_v1",      "lissom_3_v1",      "lissom_4_v1",
                            "int4_awq_v1:g512", "calibrated_vq_v1:s1"};

std::vector<float> gaussian(size_t n, unsigned seed, float sigma = 0.02F) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, sigma);
  std::vector<float> w(n);
  for (float& x : w) x = normal(random);
  return w;
}

std::vector<float> importances(size_t n, unsigned seed) {
  std::vector<float> v = gaussian(n, seed, 1.2F);
  for (float& x : v) x = std::exp(x);
  return v;
}

Bytes encode(const Codec& codec, const Shape& shape, const std::vector<float>& w,
             const std::vector<float>& v = {}) {
  auto parts = encode_checked(codec, "w", shape, w, v);
  EXPECT_TRUE(parts) << codec.name() << ": " << parts.error().message;
  return parts ? *parts : Bytes{};
}

std::vector<std::span<const std::byte>> views(const Bytes& parts) {
  return {parts.begin(), parts.end()};
}

std::vector<float> round_trip(const Codec& codec, const Shape& shape, const std::vector<float>& w,
                              const std::vector<float>& v = {}) {
  const Bytes parts = encode(codec, shape, w, v);
  std::vector<float> out(w.size());
  codec.decode_rows(shape, views(parts), 0, shape.rows(), out.data());
  return out;
}

/// sqrt(Σ v·(w-ŵ)² / Σ v·w²)
double relative_error(const std::vector<float>& w, const std::vector<float>& back,
                      const std::vector<float>& v = {}) {
  double error = 0, energy = 0;
  for (size_t i = 0; i < w.size(); ++i) {
    const double a = v.empty() ? 1 : static_cast<double>(v[i % v.size()]), x = static_cast<double>(w[i]);
    error += a * std::pow(x - static_cast<double>(back[i]), 2);
    energy += a * x * x;
  }
  return std::sqrt(error / energy);
}

TEST(OwnCodecs, BitsAreThoseOfEveryComponent) {
  // 576 × 576: a matrix of the reference model.
  const std::pair<const char*, double> expected[] = {
      {"int4_g8_fp16_v1", 6.0},
      {"int4_residual_v1", 4 + 1 + 2 + 0.25},
      {"int4_opt_llama_v1", 4.25 + 256.0 / 331776},
      {"int4_awq_v1", 4 + 5 * 32.0 / 576 + 16.0 / 576 + 3 * 32.0 / 576},
      {"calibrated_vq_v1", 4 + 16.0 / 576 + 2 * 16384.0 / 331776},
      {"lissom_2_v1", 2 + 3 * 32.0 / 331776 + (12 + 16) / 576.0 + 3 * 54 * 48.0 / 331776},
      {"lissom_2_5_v1", 2.5 + 3 * 32.0 / 331776 + (12 + 16) / 576.0 + 3 * 54 * 48.0 / 331776},
  };
  for (const auto& [name, bits] : expected)
    EXPECT_NEAR(find_codec(name)->bits_per_weight(Shape{576, 576}), bits, 1e-9) << name;
}

TEST(OwnCodecs, ShapesOfOneRowAndOfOddMultiples) {
  for (const char* name : kOwn) {
    const Codec& codec = *find_codec(name);
    for (const auto& shape : {Shape{1, 64}, Shape{1, 4096}, Shape{3, 576}, Shape{17, 192}, Shape{257, 80}}) {
      const auto w = gaussian(static_cast<size_t>(shape.elements()), 1);
      for (const auto& v : {std::vector<float>{}, importances(static_cast<size_t>(shape.cols()), 2)})
        EXPECT_LE(relative_error(w, round_trip(codec, shape, w, v), v), 2 * codec.error_interval().high)
            << name << " " << shape.str();
    }
  }
}

TEST(OwnCodecs, ZeroRowsAndConstantRows) {
  for (const char* name : kOwn) {
    const Codec& codec = *find_codec(name);
    const Shape shape{40, 192};
    auto w = gaussian(40 * 192, 3);
    std::fill_n(w.begin() + 5 * 192, 192, 0.0F);
    std::fill_n(w.begin() + 7 * 192, 192, 0.031F);
    const auto back = round_trip(codec, shape, w);
    double energy = 0, error = 0;
    for (size_t j = 0; j < 192; ++j) {
      EXPECT_EQ(back[5 * 192 + j], 0.0F) << name;
      energy += 0.031 * 0.031;
      error += std::pow(static_cast<double>(back[7 * 192 + j]) - 0.031, 2);
    }
    EXPECT_LE(std::sqrt(error / energy), 2 * codec.error_interval().high) << name;
  }
}

TEST(OwnCodecs, HugeOutliersStayApart) {
  // A weight of a thousand deviations in some rows: the others are kept as if it were not there, or nearly.
  for (const char* name : {"int4_awq_v1", "int4_ultimate_v1", "lissom_2_v1", "lissom_4_v1"}) {
    const Codec& codec = *find_codec(name);
    const Shape shape{64, 512};
    const auto plain = gaussian(64 * 512, 4);
    auto w = plain;
    for (size_t i = 0; i < 64; i += 16) w[i * 512 + 77 + i] = 20;
    auto back = round_trip(codec, shape, w);
    for (size_t i = 0; i < 64; i += 16) {
      EXPECT_NEAR(back[i * 512 + 77 + i], 20, 0.1) << name;
      back[i * 512 + 77 + i] = plain[i * 512 + 77 + i];
    }
    EXPECT_LE(relative_error(plain, back), 1.6 * codec.error_interval().high) << name;
  }
}

TEST(OwnCodecs, ImportanceLowersTheWeightedError) {
  const Shape shape{96, 512};
  const auto w = gaussian(96 * 512, 5), v = importances(512, 6);
  for (const char* name : kOwn) {
    if (std::string_view(name) == "int4_residual_v1") continue;  // made from the weights alone
    const Codec& codec = *find_codec(name);
    EXPECT_LT(relative_error(w, round_trip(codec, shape, w, v), v),
              relative_error(w, round_trip(codec, shape, w), v))
        << name;
  }
}

TEST(Trellis, RatesPerColumnTakeMostOfWhatImportanceOffers) {
  const Shape shape{256, 512};
  const auto w = gaussian(256 * 512, 7), v = importances(512, 8);
  const Codec& codec = *find_codec("lissom_3_v1");
  double arithmetic = 0, geometric = 0;
  for (float x : v) {
    arithmetic += static_cast<double>(x) / 512;
    geometric += std::log(static_cast<double>(x)) / 512;
  }
  const double gain = std::sqrt(arithmetic / std::exp(geometric));  // of the error's root
  const double plain = relative_error(w, round_trip(codec, shape, w), v);
  EXPECT_LT(relative_error(w, round_trip(codec, shape, w, v), v), plain / (0.85 * gain));
}

TEST(Trellis, ErrorIsNearTheBoundOfRateAndDistortion) {
  // 2^-rate is the least relative error that any code of that rate has on Gaussian weights.
  const Shape shape{256, 256};
  const auto w = gaussian(256 * 256, 9);
  for (const auto& [name, rate] :
       {std::pair{"lissom_2_v1", 2.0}, {"lissom_2_5_v1", 2.5}, {"lissom_3_v1", 3.0}, {"lissom_4_v1", 4.0}}) {
    const double error = relative_error(w, round_trip(*find_codec(name), shape, w));
    EXPECT_GT(error, std::pow(2, -rate)) << name;
    // Half of the columns at 2 and half at 3 bits are not 2.5 bits everywhere.
    EXPECT_LT(error, (rate == 2.5 ? 1.25 : 1.16) * std::pow(2, -rate)) << name;
  }
}

TEST(Trellis, EverySetOfSuccessorsCoversTheDistribution) {
  const float* values = trellis::search_values(12);
  std::vector<float> sorted(values, values + 4096);
  std::sort(sorted.begin(), sorted.end());
  for (int rate = 1; rate <= trellis::kMaxRate; ++rate)
    for (int group = 0; group < 4096 >> rate; ++group) {
      std::vector<int> parts;
      for (int i = 0; i < 1 << rate; ++i) {
        const float value = values[(group << rate) + i];
        parts.push_back(
            static_cast<int>(std::lower_bound(sorted.begin(), sorted.end(), value) - sorted.begin()) >>
            (12 - rate));
      }
      std::sort(parts.begin(), parts.end());
      ASSERT_EQ(std::unique(parts.begin(), parts.end()) - parts.begin(), 1 << rate) << rate << " " << group;
    }
}

TEST(Trellis, SearchFindsTheBestPathOfAllAndItsCodesLeadThere) {
  // Four weights of two bits: 256 paths, few enough to try.
  const auto x = gaussian(4, 10, 1.0F), weight = importances(4, 11);
  trellis::Search search(12);
  search.begin(0x5a3);
  for (size_t i = 0; i < 4; ++i) search.add(2, x[i], weight[i]);
  std::vector<uint8_t> codes(4);
  std::vector<float> values(4);
  const uint32_t last = search.end(codes.size(), codes.data(), values.data());
  const auto cost = [&](int path, std::vector<float>* found) {
    uint32_t state = 0x5a3;
    double sum = 0;
    for (size_t i = 0; i < 4; ++i) {
      state = ((state << 2) | ((static_cast<uint32_t>(path) >> (2 * i)) & 3U)) & 4095U;
      const float value = trellis::search_values(12)[state];
      if (found != nullptr) (*found)[i] = value;
      sum += static_cast<double>(weight[i]) * std::pow(static_cast<double>(x[i] - value), 2);
    }
    return std::pair{sum, state};
  };
  int best = 0;
  for (int path = 1; path < 256; ++path)
    if (cost(path, nullptr).first < cost(best, nullptr).first) best = path;
  std::vector<float> expected(4);
  EXPECT_EQ(cost(best, &expected).second, last);
  EXPECT_EQ(values, expected);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(codes[i], (best >> (2 * i)) & 3);
}

TEST(Trellis, KernelsGiveTheBitsOfTheScalarOnes) {
  const auto x = gaussian(64, 12, 1.0F);
  const trellis::Kernels &fast = trellis::kernels(), &plain = trellis::scalar_kernels();
  for (int rate = 1; rate <= trellis::kMaxRate; ++rate) {
    const size_t states = 4096, groups = states >> rate;
    std::vector<float> costs = importances(states, 13), a(states), b(states), merged(states + 16);
    std::vector<uint8_t> from(groups), to(groups);
    const trellis::Step step{12, rate, trellis::search_values(12), x[static_cast<size_t>(rate)], 0.7F};
    fast.step(step, costs.data(), a.data(), merged.data(), from.data());
    plain.step(step, costs.data(), b.data(), merged.data(), to.data());
    EXPECT_EQ(a, b) << rate;
    EXPECT_EQ(from, to) << rate;
  }
  // 37 columns of all rates in turn.
  const int64_t cols = 37, height = 16;
  std::vector<uint8_t> stream(4 + 37 * 8 * 16 / 8);
  std::mt19937 random(14);
  for (size_t i = 4; i < stream.size(); ++i) stream[i] = static_cast<uint8_t>(random());
  std::vector<uint32_t> begin;
  std::vector<int32_t> rates;
  uint32_t bit = 32;
  for (int64_t j = 0; j < cols; ++j) {
    begin.push_back(bit);
    rates.push_back(static_cast<int32_t>(j % 9));
    bit += static_cast<uint32_t>(rates.back() * height);
  }
  const auto scales = importances(37, 15);
  const trellis::RowStreams streams{stream.data(),
                                    stream.data() + stream.size(),
                                    trellis::state_values(12),
                                    12,
                                    cols,
                                    begin.data(),
                                    rates.data(),
                                    scales.data()};
  std::vector<float> a(37), b(37);
  for (int64_t row = 0; row < height; ++row) {
    fast.decode_row(streams, row, 0.37F, a.data());
    plain.decode_row(streams, row, 0.37F, b.data());
    EXPECT_EQ(std::memcmp(a.data(), b.data(), a.size() * sizeof(float)), 0) << row;
  }
  const auto row_scales = importances(16, 17);
  for (int64_t row = 0; row < height; ++row)
    for (int64_t count = 1; row + count <= height; ++count) {
      std::vector<float> panel(37 * 16, -1.0F), same(panel);
      fast.decode_panel(streams, row, count, row_scales.data(), panel.data());
      plain.decode_panel(streams, row, count, row_scales.data(), same.data());
      ASSERT_EQ(std::memcmp(panel.data(), same.data(), panel.size() * sizeof(float)), 0) << row << " " << count;
      plain.decode_row(streams, row + count - 1, row_scales[static_cast<size_t>(count - 1)], b.data());
      for (size_t j = 0; j < 37; ++j) ASSERT_EQ(panel[j * 16 + static_cast<size_t>(count - 1)], b[j]);
    }
}

TEST(OwnCodecs, ExpandersOfEveryTargetAreEqual) {
  const int4::Expanders &fast = int4::expanders(), &plain = int4::portable_expanders();
  std::mt19937 random(19);
  std::vector<uint8_t> codes(256);
  for (uint8_t& code : codes) code = static_cast<uint8_t>(random());
  std::vector<std::byte> halves;
  for (uint32_t h = 0; h < 0x10000; h += 3) {
    if ((h & 0x7c00U) == 0x7c00U && (h & 0x3ffU) != 0) continue;  // NaNs may become quiet
    halves.push_back(static_cast<std::byte>(h & 255U));
    halves.push_back(static_cast<std::byte>(h >> 8));
  }
  const auto scales = gaussian(64, 20), offsets = gaussian(64, 21), x = gaussian(256, 22);
  const auto same = [&](size_t n, const auto& call) {
    std::vector<float> a = gaussian(static_cast<int64_t>(n), 23), b = a;
    call(fast, a.data());
    call(plain, b.data());
    return std::memcmp(a.data(), b.data(), n * sizeof(float)) == 0;
  };
  EXPECT_TRUE(same(halves.size() / 2, [&](const int4::Expanders& e, float* to) {
    e.halves(halves.data(), halves.size() / 2, to);
  }));
  for (const size_t n : {2, 8, 14, 16, 18, 32, 50, 64, 200}) {
    for (const size_t group : {size_t{8}, size_t{16}, size_t{64}, n})
      EXPECT_TRUE(same(n,
                       [&](const int4::Expanders& e, float* to) {
                         e.lines({codes.data(), n, group, scales.data(), offsets.data()}, to);
                       }))
          << n << " " << group;
    EXPECT_TRUE(same(n, [&](auto& e, float* to) { e.bytes(codes.data(), n, 0.3F, -1.7F, to); })) << n;
    EXPECT_TRUE(same(n, [&](auto& e, float* to) { e.quarters(codes.data(), n, 0.3F, -1.7F, to); })) << n;
    EXPECT_TRUE(same(n, [&](auto& e, float* to) { e.levels(codes.data(), n, 0.3F, x.data(), to); })) << n;
    EXPECT_TRUE(same(n, [&](auto& e, float* to) { e.multiply(x.data(), n, to); })) << n;
    EXPECT_TRUE(same(n, [&](auto& e, float* to) { e.add(0.3F, x.data(), n, to); })) << n;
  }
  std::vector<float> two(2);
  plain.lines({codes.data(), 2, 2, scales.data(), offsets.data()}, two.data());
  EXPECT_EQ(two[0], scales[0] * static_cast<float>(codes[0] & 15) + offsets[0]);
  EXPECT_EQ(two[1], scales[0] * static_cast<float>(codes[0] >> 4) + offsets[0]);
}

TEST(OwnCodecs, PanelsAreRowsSideBySide) {
  // 264 rows: blocks of 136 and 128, whose border lies within a panel.
  for (const char* name : {"lissom_2_v1", "lissom_2_5_v1", "lissom_3_v1", "lissom_4_v1"})
    for (const Shape& shape : {Shape{3, 32}, Shape{264, 40}}) {
      const Codec& codec = *find_codec(name);
      const auto w = gaussian(shape.elements(), 18);
      const Bytes parts = encode(codec, shape, w);
      const int64_t cols = shape.cols();
      std::vector<float> rows(w.size());
      const auto all = views(parts);
      codec.decode_rows(shape, all, 0, shape.rows(), rows.data());
      const auto panels = dynamic_cast<const PanelCodec&>(codec).panels(shape, all);
      for (int64_t first = 0; first < shape.rows(); first += 13) {
        const int64_t count = std::min<int64_t>(PanelDecoder::kLanes, shape.rows() - first);
        std::vector<float> panel(static_cast<size_t>(cols * PanelDecoder::kLanes));
        panels->decode(first, count, panel.data());
        for (int64_t i = 0; i < count; ++i)
          for (int64_t c = 0; c < cols; ++c)
            ASSERT_EQ(panel[static_cast<size_t>(c * PanelDecoder::kLanes + i)],
                      rows[static_cast<size_t>((first + i) * cols + c)])
                << name << " row " << first + i << " column " << c;
      }
    }
}

TEST(Trellis, RatesAreTheBestThereAre) {
  // Three columns and five bits: all combinations.
  const std::vector<double> costs{9, 1, 0.02};
  const auto rates = trellis::choose_rates(costs, 5);
  EXPECT_EQ(std::accumulate(rates.begin(), rates.end(), 0), 5);
  const auto total = [&](int a, int b, int c) {
    return costs[0] * trellis::distortion(a) + costs[1] * trellis::distortion(b) +
           costs[2] * trellis::distortion(c);
  };
  for (int a = 0; a <= 5; ++a)
    for (int b = 0; a + b <= 5; ++b) EXPECT_LE(total(rates[0], rates[1], rates[2]), total(a, b, 5 - a - b));
  EXPECT_EQ(trellis::choose_rates(std::vector<double>{1, 0}, 16), (std::vector<uint8_t>{8, 8}));
}

TEST(OwnCodecs, DamagedComponentsAreRefused) {
  const Shape shape{16, 512};
  const auto w = gaussian(16 * 512, 16);
  const auto check = [&](const Codec& codec, const Bytes& parts) {
    return dynamic_cast<const PartsCheck&>(codec).check_parts(shape, views(parts));
  };
  for (const char* name : {"lissom_2_v1", "int4_ultimate_v1", "int4_awq_v1"}) {
    const Codec& codec = *find_codec(name);
    EXPECT_TRUE(check(codec, encode(codec, shape, w))) << name;
  }
  const auto expect_refused = [&](const char* name, size_t part, std::byte value, const char* said) {
    const Codec& codec = *find_codec(name);
    Bytes parts = encode(codec, shape, w);
    parts[part].assign(parts[part].size(), value);
    const auto result = check(codec, parts);
    ASSERT_FALSE(result) << name;
    EXPECT_NE(result.error().message.find(said), std::string::npos) << result.error().message;
  };
  expect_refused("lissom_2_v1", 1, std::byte{0x33}, "rates");
  expect_refused("lissom_2_v1", 1, std::byte{0x0c}, "rate");
  expect_refused("lissom_2_v1", 4, std::byte{0x7f}, "outlier_index");
  expect_refused("int4_ultimate_v1", 4, std::byte{4}, "group_bits");
  expect_refused("int4_ultimate_v1", 4, std::byte{3}, "group_bits");
  expect_refused("int4_awq_v1", 4, std::byte{0xff}, "outlier_index");
}

TEST(OwnCodecs, ParametersInNames) {
  const Shape shape{64, 4096};
  EXPECT_EQ(find_codec("int4_awq_v1:g4096")->components(shape)[1].shape, (Shape{64, 1}));
  EXPECT_EQ(find_codec("int4_awq_v1:g256")->components(shape)[1].shape, (Shape{64, 16}));
  // A group wider than the row is the row.
  EXPECT_EQ(find_codec("int4_awq_v1:g4096")->components(Shape{64, 576})[1].shape, (Shape{64, 1}));
  EXPECT_EQ(find_codec("calibrated_vq_v1:s3")->components(shape)[0].shape, (Shape{3, 64, 1024}));
  for (const char* wrong : {"int4_awq_v1:", "int4_awq_v1:g63", "int4_awq_v1:g8192", "int4_awq_v1:128",
                            "int4_awq_v1:g100x", "int4_awq_v1:g100", "calibrated_vq_v1:s0", "lissom_2_v1:s1"})
    EXPECT_FALSE(codec_named(wrong)) << wrong;
}

TEST(Vectors, CodebookFindsWhatIsThere) {
  // Two columns of four matter, and hold 16 pairs of values: the points lie there.
  std::mt19937 random(17);
  std::vector<float> x(4096 * 4);
  for (size_t i = 0; i < x.size(); ++i)
    x[i] = i % 4 < 2 ? static_cast<float>(random() % 4) : static_cast<float>(random() % 1000) / 1000;
  const std::vector<float> v{1, 1, 1e-6F, 1e-6F};
  const vectors::Codebook book = vectors::fit(x.data(), 4096, 4, v, 4);
  for (size_t i = 0; i < 4096; ++i) {
    const uint8_t k = vectors::nearest(book, &x[i * 4], v.data());
    for (size_t d = 0; d < 2; ++d) ASSERT_NEAR(book.points[k * 4U + d], x[i * 4 + d], 0.02) << i;
  }
}

}  // namespace
}  // namespace lissom
