#include "kernels/kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>

#include "base/half.h"
#include "codec/parts.h"
#include "lissom/codec.h"

namespace lissom::kernels {
namespace {

std::vector<float> gaussian(size_t n, uint32_t seed, float scale = 1.0F) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal(0.0F, scale);
  std::vector<float> v(n);
  for (float& x : v) x = normal(rng);
  return v;
}

struct Encoded {
  int64_t rows, cols;
  std::vector<std::byte> bytes;
  std::vector<float> decoded;
};
Encoded encode(const Codec& codec, int64_t rows, int64_t cols, const std::vector<float>& weights) {
  const Shape shape{rows, cols};
  auto parts = encode_checked(codec, "w", shape, weights, {});
  EXPECT_TRUE(parts.has_value()) << (parts ? "" : parts.error().message);
  Encoded e{rows, cols, join_parts(codec, shape, *parts), std::vector<float>(weights.size())};
  codec.decode_rows(shape, *parts_of(codec, shape, e.bytes), 0, rows, e.decoded.data());
  return e;
}

std::unique_ptr<PackedMatrix> packed(Target target, const Codec& codec, const Encoded& e, ThreadPool& pool,
                                     Precision precision = Precision::fast) {
  auto p = PackedMatrix::pack(target, codec, e.rows, e.cols, e.bytes, nullptr, pool, precision);
  EXPECT_TRUE(p.has_value()) << (p ? "" : p.error().message);
  return std::move(*p);
}

std::vector<double> exact_product(const Encoded& e, const std::vector<float>& x, int64_t m) {
  std::vector<double> y(static_cast<size_t>(m * e.rows));
  for (int64_t t = 0; t < m; ++t) {
    for (int64_t r = 0; r < e.rows; ++r) {
      double sum = 0.0;
      for (int64_t k = 0; k < e.cols; ++k) {
        sum += static_cast<double>(e.decoded[static_cast<size_t>(r * e.cols + k)]) *
               static_cast<double>(x[static_cast<size_t>(t * e.cols + k)]);
      }
      y[static_cast<size_t>(t * e.rows + r)] = sum;
    }
  }
  return y;
}

std::vector<float> product(Target target, ThreadPool& pool, const PackedMatrix& w, const std::vector<float>& x,
                           int64_t m, const float* bias = nullptr) {
  std::vector<float> y(static_cast<size_t>(m * w.rows()), -1.0F);
  std::vector<std::byte> scratch;
  const MatmulTerm term{&w, bias, y.data()};
  matmul(target, pool, {&term, 1}, x.data(), m, scratch);
  return y;
}

double relative_error(const std::vector<float>& y, const std::vector<double>& want) {
  double error = 0.0, norm = 0.0;
  for (size_t i = 0; i < y.size(); ++i) {
    error += (static_cast<double>(y[i]) - want[i]) * (static_cast<double>(y[i]) - want[i]);
    norm += want[i] * want[i];
  }
  return norm == 0.0 ? std::sqrt(error) : std::sqrt(error / norm);
}

/// The size that a product of unrelated rows and inputs has: a single one may be near zero by chance.
double typical_size(const Encoded& e, const std::vector<float>& x) {
  double w2 = 0.0, x2 = 0.0;
  for (const float v : e.decoded) w2 += static_cast<double>(v) * static_cast<double>(v);
  for (const float v : x) x2 += static_cast<double>(v) * static_cast<double>(v);
  return std::sqrt(w2 * x2 / static_cast<double>(e.cols));
}
double typical_error(const std::vector<float>& y, const std::vector<double>& want, const Encoded& e,
                     const std::vector<float>& x) {
  double error = 0.0;
  for (size_t i = 0; i < y.size(); ++i) error += std::pow(static_cast<double>(y[i]) - want[i], 2);
  return std::sqrt(error) / typical_size(e, x);
}

bool is_float(const Codec& codec) {
  return codec.column_multiple() == 1;
}

// ---------------------------------------------------------------- matmul

TEST(Matmul, EveryCodecOnEveryTargetAgainstExact) {
  ThreadPool pool(2);
  for (const Codec* codec : codecs()) {
    const int64_t block = std::max<int64_t>(codec->column_multiple(), 1);
    for (const auto& [rows, blocks] : {std::pair<int64_t, int64_t>{1, 1}, {16, 2}, {37, 3}}) {
      const int64_t cols = is_float(*codec) ? blocks * 33 + 2 : block * blocks;
      const Encoded e = encode(*codec, rows, cols, gaussian(static_cast<size_t>(rows * cols), 1, 0.05F));
      std::vector<std::unique_ptr<PackedMatrix>> matrices;
      for (const Target t : supported_targets()) matrices.push_back(packed(t, *codec, e, pool));
      const auto bias = gaussian(static_cast<size_t>(rows), 7);
      for (const int64_t m : {1, 2, 3, 4, 5, 8, 9, 12, 13, 25, 70}) {
        const auto x = gaussian(static_cast<size_t>(m * cols), 2);
        auto want = exact_product(e, x, m);
        const auto reference = product(Target::scalar, pool, *matrices.back(), x, m);
        EXPECT_LT(typical_error(reference, want, e, x), is_float(*codec) ? 1e-6 : 0.02) << codec->name();
        for (size_t t = 0; t < matrices.size(); ++t) {
          const Target target = supported_targets()[t];
          const auto y = product(target, pool, *matrices[t], x, m);
          if (matrices[t]->input(m) == Input::int8) {
            EXPECT_EQ(y, reference) << codec->name() << " " << target_name(target) << " m=" << m
                                    << " rows=" << rows;
          } else {
            EXPECT_LT(typical_error(y, want, e, x), matrices[t]->input(m) == Input::bf16 ? 5e-3 : 1e-6)
                << codec->name() << " " << target_name(target) << " m=" << m << " rows=" << rows;
          }
          const auto with_bias = product(target, pool, *matrices[t], x, m, bias.data());
          for (size_t i = 0; i < y.size(); ++i)
            ASSERT_EQ(with_bias[i], y[i] + bias[i % static_cast<size_t>(rows)]);
        }
      }
    }
  }
}

TEST(Matmul, ExactPrecisionMatchesDouble) {
  ThreadPool pool(2);
  for (const Codec* codec : codecs()) {
    const int64_t rows = 21, cols = is_float(*codec) ? 99 : 512, m = 13;
    const Encoded e = encode(*codec, rows, cols, gaussian(static_cast<size_t>(rows * cols), 3, 0.1F));
    const auto x = gaussian(static_cast<size_t>(m * cols), 4);
    for (const Target t : supported_targets()) {
      const auto w = packed(t, *codec, e, pool, Precision::exact);
      EXPECT_FALSE(w->repacked());
      EXPECT_LT(relative_error(product(t, pool, *w, x, m), exact_product(e, x, m)), 2e-7) << codec->name();
    }
  }
}

TEST(Matmul, RowsReadBackAsTheCodecDecodes) {
  ThreadPool pool(1);
  for (const Codec* codec : codecs()) {
    const int64_t rows = 19, cols = is_float(*codec) ? 37 : 512;
    const Encoded e = encode(*codec, rows, cols, gaussian(static_cast<size_t>(rows * cols), 5, 0.1F));
    const auto w = packed(supported_targets().front(), *codec, e, pool);
    EXPECT_EQ(w->rows(), rows);
    EXPECT_EQ(w->cols(), cols);
    std::vector<float> row(static_cast<size_t>(cols));
    for (int64_t r = 0; r < rows; ++r) {
      w->row(r, row.data());
      EXPECT_EQ(std::memcmp(row.data(), e.decoded.data() + r * cols, row.size() * 4), 0)
          << codec->name() << " " << r;
    }
  }
}

/// Blocks with all bits at random, but finite 16-bit floats: every code and every sub-scale occurs.
TEST(Matmul, RandomBitsGiveTheSameOnEveryTarget) {
  ThreadPool pool(1);
  std::mt19937 rng(11);
  for (const Codec* codec : codecs()) {
    const auto* block = find_block_codec(codec->name());
    if (block == nullptr || is_float(*codec)) continue;
    const int64_t rows = 33, cols = 512, m = 70;
    Encoded e{rows, cols, std::vector<std::byte>(codec->components(Shape{rows, cols})[0].bytes), {}};
    for (auto& b : e.bytes) b = static_cast<std::byte>(rng());
    // An f16 whose exponent is all ones becomes finite with its top exponent bits cleared; scales lie at the
    // start or at the end of a block, and clearing both costs codes nothing that matters here.
    for (size_t at = 0; at < e.bytes.size(); at += static_cast<size_t>(block->block_bytes())) {
      const auto last = at + static_cast<size_t>(block->block_bytes()) - 1;
      for (const size_t i : {at + 1, at + 3, last, last - 2}) e.bytes[i] &= std::byte{0xbf};
      if (codec->name() == "MXFP4") e.bytes[at] = (e.bytes[at] & std::byte{7}) | std::byte{120};
    }
    e.decoded.resize(static_cast<size_t>(rows * cols));
    const std::span<const std::byte> views[] = {e.bytes};
    codec->decode_rows(Shape{rows, cols}, views, 0, rows, e.decoded.data());
    auto x = gaussian(static_cast<size_t>(m * cols), 12);
    // Extremes: whole groups at ±127 after rounding, which is where narrow accumulators overflow.
    for (int64_t k = 0; k < cols; ++k) x[static_cast<size_t>(k)] = 3.0F;
    for (int64_t k = 0; k < cols; ++k) x[static_cast<size_t>(cols + k)] = -3.0F;
    for (const int64_t tokens : {14, 70}) {  // many widen the panels first
      const auto scalar = product(Target::scalar, pool, *packed(Target::scalar, *codec, e, pool), x, tokens);
      EXPECT_LT(relative_error(scalar, exact_product(e, x, tokens)), 0.02) << codec->name();
      for (const Target t : supported_targets()) {
        EXPECT_EQ(product(t, pool, *packed(t, *codec, e, pool), x, tokens), scalar)
            << codec->name() << " " << target_name(t) << " " << tokens;
      }
    }
  }
}

/// Panels are widened for many tokens, not for few.
TEST(Matmul, WideningCostsLittleOrNothing) {
  constexpr int64_t kRows = 48, kCols = 768, kMany = 96, kFew = 12;
  ThreadPool pool(2);
  const auto x = gaussian(static_cast<size_t>(kMany * kCols), 41);
  const std::vector<float> few(x.begin(), x.begin() + kFew * kCols);
  const auto w = gaussian(static_cast<size_t>(kRows * kCols), 42, 0.05F);
  for (const auto& [name, most] : {std::pair{"Q3_K", 1e-6},
                                   {"IQ4_NL", 1e-6},
                                   {"Q6_K", 25e-3},
                                   {"Q5_K", 25e-3},
                                   {"Q4_K", 25e-3},
                                   {"Q2_K", 25e-3},
                                   {"IQ4_XS", 25e-3},
                                   {"IQ3_S", 25e-3},
                                   {"IQ3_XXS", 25e-3},
                                   {"IQ2_XS", 25e-3},
                                   {"IQ2_XXS", 25e-3},
                                   {"IQ1_M", 25e-3},
                                   {"IQ1_S", 25e-3},
                                   {"TQ1_0", 1e-6},
                                   {"NVFP4", 25e-3}}) {
    const Encoded e = encode(*find_codec(name), kRows, kCols, w);
    for (const Target t : supported_targets()) {
      const auto matrix = packed(t, *find_codec(name), e, pool);
      const auto widened = product(t, pool, *matrix, x, kMany), plain = product(t, pool, *matrix, few, kFew);
      double error = 0, norm = 0;
      for (size_t i = 0; i < plain.size(); ++i) {
        error += std::pow(double{widened[i]} - double{plain[i]}, 2);
        norm += double{plain[i]} * double{plain[i]};
      }
      EXPECT_LT(std::sqrt(error / norm), most) << name << " " << target_name(t);
    }
  }
}

TEST(Matmul, ZerosTinyHugeAndNotFinite) {
  ThreadPool pool(1);
  for (const char* name : {"Q8_0", "Q4_K", "Q6_K", "Q2_K", "Q3_K", "F32", "BF16"}) {
    const Codec* codec = find_codec(name);
    ASSERT_NE(codec, nullptr);
    const int64_t rows = 16, cols = 256;
    const Encoded e = encode(*codec, rows, cols, gaussian(static_cast<size_t>(rows * cols), 6, 0.1F));
    const Encoded zero = encode(*codec, rows, cols, std::vector<float>(static_cast<size_t>(rows * cols)));
    for (const Target t : supported_targets()) {
      const auto w = packed(t, *codec, e, pool);
      const auto z = packed(t, *codec, zero, pool);
      for (const int64_t m : {1, 12, 70}) {
        const auto n = static_cast<size_t>(m * cols);
        for (const float y : product(t, pool, *w, std::vector<float>(n), m)) EXPECT_EQ(y, 0.0F);
        for (const float y : product(t, pool, *z, gaussian(n, 1), m)) EXPECT_EQ(y, 0.0F);
        for (const float scale : {1e-38F, 1e-30F, 1e30F}) {
          for (const float y : product(t, pool, *w, gaussian(n, 1, scale), m)) EXPECT_TRUE(std::isfinite(y));
        }
        auto x = gaussian(n, 1);
        x[17] = NAN;
        for (int64_t r = 0; r < rows; ++r)
          EXPECT_TRUE(std::isnan(product(t, pool, *w, x, m)[static_cast<size_t>(r)]));
        x[17] = INFINITY;
        for (int64_t r = 0; r < rows; ++r) {
          EXPECT_FALSE(std::isfinite(product(t, pool, *w, x, m)[static_cast<size_t>(r)])) << name;
        }
      }
    }
  }
}

TEST(Matmul, GroupsAndThreadCountsChangeNothing) {
  const int64_t cols = 512, m = 29;
  const auto x = gaussian(static_cast<size_t>(m * cols), 20);
  std::vector<std::vector<float>> first;
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    std::vector<std::unique_ptr<PackedMatrix>> weights;
    std::vector<std::vector<float>> ys;
    for (const char* name : {"Q4_K", "F16", "Q6_K", "Q8_0", "BF16"}) {
      const int64_t rows = 48 + 7 * static_cast<int64_t>(weights.size());
      const Codec& codec = *find_codec(name);
      weights.push_back(packed(supported_targets().front(), codec,
                               encode(codec, rows, cols, gaussian(static_cast<size_t>(rows * cols), 21)),
                               pool));
      ys.emplace_back(static_cast<size_t>(m * rows));
    }
    std::vector<MatmulTerm> terms;
    for (size_t i = 0; i < ys.size(); ++i) terms.push_back({weights[i].get(), nullptr, ys[i].data()});
    std::vector<std::byte> scratch;
    matmul(supported_targets().front(), pool, terms, x.data(), m, scratch);
    if (first.empty()) first = ys;
    EXPECT_EQ(ys, first);
    for (size_t i = 0; i < ys.size(); ++i) {
      EXPECT_EQ(product(supported_targets().front(), pool, *weights[i], x, m), ys[i]);
    }
  }
}

/// A codec that no kernel knows.
class Negated final : public Codec {
 public:
  [[nodiscard]] std::string_view name() const override { return "test-negated"; }
  [[nodiscard]] int64_t column_multiple() const override { return 1; }
  [[nodiscard]] std::vector<Component> components(const Shape& shape) const override {
    return {{"", "F32", shape, static_cast<uint64_t>(shape.elements()) * 4}};
  }
  [[nodiscard]] ErrorInterval error_interval() const override { return {}; }
  [[nodiscard]] float max_magnitude() const override { return 1e30F; }
  void encode(const Shape&, std::span<const float> weights, std::span<const float>,
              std::span<const std::span<std::byte>> parts) const override {
    for (size_t i = 0; i < weights.size(); ++i) {
      const float v = -weights[i];
      std::memcpy(parts[0].data() + 4 * i, &v, 4);
    }
  }
  void decode_rows(const Shape& shape, std::span<const std::span<const std::byte>> parts, int64_t first,
                   int64_t count, float* out) const override {
    std::memcpy(out, parts[0].data() + first * shape.cols() * 4, static_cast<size_t>(count * shape.cols()) * 4);
    for (int64_t i = 0; i < count * shape.cols(); ++i) out[i] = -out[i];
  }
};

TEST(Matmul, CodecWithoutKernel) {
  const Negated codec;
  ThreadPool pool(3);
  const Encoded e = encode(codec, 35, 41, gaussian(35 * 41, 30));
  for (const Target t : supported_targets()) {
    const auto w = packed(t, codec, e, pool);
    EXPECT_FALSE(w->repacked());
    for (const int64_t m : {1, 7, 26}) {
      const auto x = gaussian(static_cast<size_t>(m * 41), 31);
      EXPECT_LT(relative_error(product(t, pool, *w, x, m), exact_product(e, x, m)), 1e-6);
    }
  }
}

TEST(Matmul, PackRefusesSizesThatDoNotFit) {
  ThreadPool pool(1);
  const Codec& codec = *find_codec("Q4_K");
  const std::vector<std::byte> bytes(144 * 4);
  const auto pack = [&](int64_t rows, int64_t cols) {
    return PackedMatrix::pack(Target::scalar, codec, rows, cols, bytes, nullptr, pool).has_value();
  };
  EXPECT_TRUE(pack(4, 256));
  EXPECT_FALSE(pack(5, 256));
  EXPECT_FALSE(pack(4, 255));
  EXPECT_FALSE(pack(0, 256));
  EXPECT_FALSE(pack(-4, 256));
  EXPECT_FALSE(pack(int64_t{1} << 62, 256));
}

}  // namespace
}  // namespace lissom::kernels
