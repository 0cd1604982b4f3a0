// The interface admits what comes next, without a line in src/: a codec of several components, and a block
// codec whose codebook holds vectors. Whatever takes a Codec& works with them; the registry is for names in
// files and schemes.

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "base/half.h"
#include "lissom/codec.h"

namespace lissom {
namespace {

/// Four-bit codes with an f16 scale for every 16 weights, and each row's largest weight kept apart exactly.
class OutlierCodec final : public Codec {
 public:
  [[nodiscard]] std::string_view name() const override { return "TOY_OUTLIER"; }
  [[nodiscard]] int64_t column_multiple() const override { return 16; }
  [[nodiscard]] ErrorInterval error_interval() const override { return {0.05, 0.2}; }
  [[nodiscard]] float max_magnitude() const override { return 65504.0F; }
  [[nodiscard]] std::vector<Component> components(const Shape& shape) const override {
    const int64_t rows = shape.rows(), cols = shape.cols();
    const auto part = [](const char* suffix, const char* type, const Shape& of, int64_t size) {
      return Component{suffix, type, of, static_cast<uint64_t>(of.elements() * size)};
    };
    return {part("codes", "U8", Shape{rows, cols / 2}, 1), part("scales", "F16", Shape{rows, cols / 16}, 2),
            part("outlier_column", "I32", Shape{rows}, 4), part("outlier", "F32", Shape{rows}, 4)};
  }
  void encode(const Shape& shape, std::span<const float> weights, std::span<const float>,
              std::span<const std::span<std::byte>> parts) const override {
    const int64_t cols = shape.cols();
    for (int64_t row = 0; row < shape.rows(); ++row) {
      const float* w = weights.data() + row * cols;
      const auto largest = static_cast<int32_t>(
          std::max_element(w, w + cols, [](float a, float b) { return std::fabs(a) < std::fabs(b); }) - w);
      std::memcpy(parts[2].data() + row * 4, &largest, 4);
      std::memcpy(parts[3].data() + row * 4, w + largest, 4);
      for (int64_t group = 0; group < cols / 16; ++group) {
        float most = 0;
        for (int64_t i = group * 16; i < group * 16 + 16; ++i)
          if (i != largest) most = std::max(most, std::fabs(w[i]));
        const uint16_t half = float_to_half(most / 7);
        std::memcpy(parts[1].data() + (row * (cols / 16) + group) * 2, &half, 2);
        const float scale = half_to_float(half);
        for (int64_t i = group * 16; i < group * 16 + 16; i += 2) {
          const auto code = [&](float x) {
            return static_cast<int>(std::clamp(scale > 0 ? std::nearbyint(x / scale) : 0.0F, -8.0F, 7.0F)) + 8;
          };
          parts[0][static_cast<size_t>((row * cols + i) / 2)] =
              static_cast<std::byte>(code(w[i]) | code(w[i + 1]) << 4);
        }
      }
    }
  }
  void decode_rows(const Shape& shape, std::span<const std::span<const std::byte>> parts, int64_t first,
                   int64_t count, float* out) const override {
    const int64_t cols = shape.cols();
    for (int64_t row = first; row < first + count; ++row, out += cols) {
      for (int64_t i = 0; i < cols; ++i) {
        uint16_t half = 0;
        std::memcpy(&half, parts[1].data() + (row * (cols / 16) + i / 16) * 2, 2);
        const auto pair = static_cast<int>(parts[0][static_cast<size_t>((row * cols + i) / 2)]);
        out[i] = half_to_float(half) * static_cast<float>((i % 2 ? pair >> 4 : pair & 15) - 8);
      }
      int32_t column = 0;
      std::memcpy(&column, parts[2].data() + row * 4, 4);
      std::memcpy(out + column, parts[3].data() + row * 4, 4);
    }
  }
};

/// Eight weights are rounded at once, to one of the 128 sign patterns of even parity times a magnitude pattern:
/// one byte and a half for eight weights, as small IQ types do. Codes are the weights' levels.
class VectorCodec final : public BlockCodec {
 public:
  [[nodiscard]] std::string_view name() const override { return "TOY_VECTOR"; }
  [[nodiscard]] ErrorInterval error_interval() const override { return {0.3, 0.8}; }
  [[nodiscard]] int block_weights() const override { return 32; }
  [[nodiscard]] int block_bytes() const override {
    return 2 + 4 * 2;
  }  // f16; for each eight, signs and magnitudes
  [[nodiscard]] int round_width() const override { return 8; }
  void choose(const float* w, const float* importance, BlockGrid& grid) const override {
    // Scale of ±1 and ±3 levels: twice the mean magnitude lies between them.
    float sum = 0, total = 0;
    for (int i = 0; i < 32; ++i) {
      const float v = importance != nullptr ? importance[i] : 1.0F;
      sum += v * std::fabs(w[i]);
      total += v;
    }
    set(float_to_half(total > 0 ? sum / total / 2 : 0.0F), grid);
  }
  void round(const BlockGrid& grid, int, int count, const float* w, const float* importance,
             int8_t* codes) const override {
    for (int first = 0; first < count; first += 8) {
      int negatives = 0, cheapest = 0;
      float cheapest_cost = HUGE_VALF;
      for (int i = first; i < first + 8; ++i) {
        const int level = std::fabs(w[i]) > 2 * grid.scale[0] ? 3 : 1;
        codes[i] = static_cast<int8_t>(w[i] < 0 ? -level : level);
        negatives += w[i] < 0;
        const float cost = std::fabs(w[i]) * (importance != nullptr ? importance[i] : 1.0F);
        if (cost < cheapest_cost) {
          cheapest_cost = cost;
          cheapest = i;
        }
      }
      // The eighth sign is the parity of the others: flip the one that costs least.
      if (negatives % 2) codes[cheapest] = static_cast<int8_t>(-codes[cheapest]);
    }
  }
  void values(const BlockGrid& grid, int, int count, const int8_t* codes, float* w) const override {
    for (int i = 0; i < count; ++i) w[i] = grid.scale[0] * static_cast<float>(codes[i]);
  }
  void pack(const BlockGrid& grid, const int8_t* codes, std::byte* block) const override {
    std::memcpy(block, grid.stored.data(), 2);
    for (int group = 0; group < 4; ++group) {
      int signs = 0, magnitudes = 0;
      for (int i = 0; i < 8; ++i) {
        const int8_t code = codes[group * 8 + i];
        if (i < 7) signs |= (code < 0) << i;
        magnitudes |= (std::abs(code) == 3) << i;
      }
      block[2 + 2 * group] = static_cast<std::byte>(signs);
      block[3 + 2 * group] = static_cast<std::byte>(magnitudes);
    }
  }
  void unpack(const std::byte* block, BlockGrid& grid, int8_t* codes) const override {
    uint16_t half = 0;
    std::memcpy(&half, block, 2);
    set(half, grid);
    for (int group = 0; group < 4; ++group) {
      const int signs = static_cast<int>(block[2 + 2 * group]),
                magnitudes = static_cast<int>(block[3 + 2 * group]);
      int parity = 0;
      for (int i = 0; i < 8; ++i) {
        const int negative = i < 7 ? (signs >> i) & 1 : parity;
        parity ^= negative;
        const int level = (magnitudes >> i) & 1 ? 3 : 1;
        codes[group * 8 + i] = static_cast<int8_t>(negative ? -level : level);
      }
    }
  }
  void decode_blocks(const std::byte* blocks, int64_t n_blocks, float* out) const override {
    for (int64_t b = 0; b < n_blocks; ++b) {
      BlockGrid grid;
      int8_t codes[32];
      unpack(blocks + b * block_bytes(), grid, codes);
      values(grid, 0, 32, codes, out + b * 32);
    }
  }

 private:
  static void set(uint16_t half, BlockGrid& grid) {
    std::memcpy(grid.stored.data(), &half, 2);
    grid.scale[0] = half_to_float(half);
  }
};

std::vector<float> gaussian(size_t n) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, 0.02F);
  std::vector<float> w(n);
  for (float& x : w) x = normal(random);
  return w;
}

double round_trip_error(const Codec& codec, const Shape& shape, const std::vector<float>& w) {
  const auto parts = encode_checked(codec, "w", shape, w, {});
  if (!parts) return HUGE_VAL;
  const std::vector<std::span<const std::byte>> views(parts->begin(), parts->end());
  std::vector<float> back(w.size());
  codec.decode_rows(shape, views, 0, shape.rows(), back.data());
  double error = 0, energy = 0;
  for (size_t i = 0; i < w.size(); ++i) {
    error += std::pow(static_cast<double>(w[i]) - static_cast<double>(back[i]), 2);
    energy += std::pow(static_cast<double>(w[i]), 2);
  }
  return std::sqrt(error / energy);
}

TEST(Extension, SeveralComponents) {
  const OutlierCodec codec;
  const Shape shape{16, 128};
  auto w = gaussian(static_cast<size_t>(shape.elements()));
  for (int64_t row = 0; row < 16; ++row) w[static_cast<size_t>(row * 128 + row * 7)] = 5;
  const auto parts = encode_checked(codec, "w", shape, w, {});
  ASSERT_TRUE(parts);
  const auto components = codec.components(shape);
  ASSERT_EQ(parts->size(), 4U);
  for (size_t i = 0; i < components.size(); ++i) EXPECT_EQ((*parts)[i].size(), components[i].bytes);
  EXPECT_EQ(codec.bits_per_weight(shape), 4 + 1 + 64.0 / 128);
  // The outliers cost nothing: the rest is as good as without them.
  EXPECT_LE(round_trip_error(codec, shape, w) * 5, codec.error_interval().high);
  EXPECT_FALSE(encode_checked(codec, "w", Shape{16, 120}, gaussian(16 * 120), {}));
}

TEST(Extension, VectorCodebook) {
  const VectorCodec codec;
  const Shape shape{8, 256};
  const auto w = gaussian(static_cast<size_t>(shape.elements()));
  const double error = round_trip_error(codec, shape, w);
  EXPECT_GE(error, codec.error_interval().low);
  EXPECT_LE(error, codec.error_interval().high);
  // The steps that error feedback takes: choose, then round eight at a time, then pack.
  std::vector<std::byte> block(static_cast<size_t>(codec.block_bytes())), whole(block.size());
  BlockGrid grid;
  int8_t codes[32];
  codec.choose(w.data(), nullptr, grid);
  for (int first = 0; first < 32; first += codec.round_width())
    codec.round(grid, first, codec.round_width(), w.data() + first, nullptr, codes + first);
  codec.pack(grid, codes, block.data());
  codec.encode_blocks(w.data(), nullptr, 1, 1, whole.data());
  EXPECT_EQ(block, whole);
  std::vector<float> values(32), decoded(32);
  codec.values(grid, 0, 32, codes, values.data());
  codec.decode_blocks(block.data(), 1, decoded.data());
  EXPECT_EQ(values, decoded);
}

TEST(Extension, RegistryDoesNotKnowThem) {
  EXPECT_EQ(find_codec("TOY_OUTLIER"), nullptr);
  EXPECT_EQ(find_codec("TOY_VECTOR"), nullptr);
}

}  // namespace
}  // namespace lissom
