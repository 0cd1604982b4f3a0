#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "codec/family.h"
#include "codec/parts.h"

namespace lissom {
namespace {

using ::testing::HasSubstr;

std::vector<float> ramp(int64_t n) {
  std::vector<float> w(static_cast<size_t>(n));
  for (size_t i = 0; i < w.size(); ++i) w[i] = static_cast<float>(i * 7919 % 1000) / 500.0F - 1.0F;
  return w;
}

TEST(Stacked, EachShareIsInItsOwnCodec) {
  const Codec* codec = find_codec("stacked_v1:BF16|svd_int8_v1:r4|Q8_0");
  ASSERT_NE(codec, nullptr);
  EXPECT_EQ(codec->column_multiple(), 32);
  for (const Shape& shape : {Shape{48, 64}, Shape{3, 32}, Shape{2, 32}, Shape{100, 32}}) {
    const auto w = ramp(shape.elements());
    const auto bytes = encode_checked(*codec, "w", shape, w, {});
    ASSERT_TRUE(bytes) << bytes.error().message;
    const Parts parts(bytes->begin(), bytes->end());
    std::vector<float> all(w.size()), expected;
    codec->decode_rows(shape, parts, 0, shape.rows(), all.data());
    int share = 0;
    for (const char* name : {"BF16", "svd_int8_v1:r4", "Q8_0"}) {
      const int64_t begin = shape.rows() * share / 3, end = shape.rows() * (share + 1) / 3;
      ++share;
      if (begin == end) continue;
      const Shape own{end - begin, shape.cols()};
      const auto some =
          std::span(w).subspan(static_cast<size_t>(begin * shape.cols()), static_cast<size_t>(own.elements()));
      const auto alone = *encode_checked(*find_codec(name), "w", own, some, {});
      std::vector<float> back(some.size());
      find_codec(name)->decode_rows(own, Parts(alone.begin(), alone.end()), 0, own.rows(), back.data());
      expected.insert(expected.end(), back.begin(), back.end());
    }
    EXPECT_EQ(all, expected) << shape.str();
    for (int64_t r = 0; r < shape.rows(); ++r) {  // and row by row
      std::vector<float> row(static_cast<size_t>(shape.cols()));
      codec->decode_rows(shape, parts, r, 1, row.data());
      ASSERT_TRUE(std::equal(row.begin(), row.end(), all.begin() + r * shape.cols()));
    }
  }
}

TEST(Stacked, ComponentsSayWhoseTheyAre) {
  const auto parts = find_codec("stacked_v1:BF16|svd_int8_v1:r4")->components(Shape{10, 32});
  ASSERT_EQ(parts.size(), 5U);
  EXPECT_EQ(parts[0].suffix, "part0");
  EXPECT_EQ(parts[1].suffix, "part1.left");
  EXPECT_EQ(parts[1].shape, (Shape{5, 4}));
}

TEST(Stacked, RefusesWhatItCannotStack) {
  for (const char* name :
       {"stacked_v1", "stacked_v1:BF16", "stacked_v1:BF16|", "stacked_v1:BF16|Q9", "stacked_v1:|",
        "stacked_v1:BF16|svd_int8_v1:e0.9", "stacked_v1:F16|stacked_v1:F16|F32",
        "stacked_v1:F16|F16|F16|F16|F16|F16|F16|F16|F16"}) {
    const auto codec = codec_named(name);
    ASSERT_FALSE(codec) << name;
    EXPECT_THAT(codec.error().message, HasSubstr("stacked_v1"));
  }
}

}  // namespace
}  // namespace lissom
