// The contract that every codec keeps, checked for all of them at once.

#include "lissom/codec.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

namespace lissom {
namespace {

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

std::vector<float> decode(const Codec& codec, const Shape& shape,
                          const std::vector<std::vector<std::byte>>& parts) {
  std::vector<std::span<const std::byte>> views(parts.begin(), parts.end());
  std::vector<float> out(static_cast<size_t>(shape.elements()));
  codec.decode_rows(shape, views, 0, shape.rows(), out.data());
  return out;
}

double relative_error(const std::vector<float>& w, const std::vector<float>& back) {
  double error = 0, energy = 0;
  for (size_t i = 0; i < w.size(); ++i) {
    error += std::pow(static_cast<double>(w[i]) - static_cast<double>(back[i]), 2);
    energy += std::pow(static_cast<double>(w[i]), 2);
  }
  return std::sqrt(error / energy);
}

TEST(Codecs, GaussianErrorLiesInTheInterval) {
  for (const Codec* codec : codecs()) {
    const Shape shape{16, 512};
    const auto w = gaussian(static_cast<size_t>(shape.elements()), 1);
    const auto parts = encode_checked(*codec, "w", shape, w, {});
    ASSERT_TRUE(parts) << parts.error().message;
    const double error = relative_error(w, decode(*codec, shape, *parts));
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
      ASSERT_EQ(block, again) << codec->name();
    }
  }
}

TEST(Codecs, ValuesEqualDecodeAfterPack) {
  for (const BlockCodec* codec : block_codecs()) {
    const int n = codec->block_weights();
    for (unsigned trial = 0; trial < 50; ++trial) {
      const auto w = gaussian(static_cast<size_t>(n), trial);
      BlockGrid grid;
      std::vector<int8_t> codes(static_cast<size_t>(n));
      std::vector<float> values(codes.size()), decoded(codes.size());
      std::vector<std::byte> block(static_cast<size_t>(codec->block_bytes())), encoded(block.size());
      codec->choose(w.data(), nullptr, grid);
      codec->round(grid, 0, n, w.data(), nullptr, codes.data());
      codec->values(grid, 0, n, codes.data(), values.data());
      codec->pack(grid, codes.data(), block.data());
      codec->decode_blocks(block.data(), 1, decoded.data());
      codec->encode_blocks(w.data(), nullptr, 1, 1, encoded.data());
      ASSERT_EQ(std::memcmp(values.data(), decoded.data(), values.size() * sizeof(float)), 0) << codec->name();
      ASSERT_EQ(block, encoded) << codec->name();
    }
  }
}

}  // namespace
}  // namespace lissom
