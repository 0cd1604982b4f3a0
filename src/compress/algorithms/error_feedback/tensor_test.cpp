#include "compress/algorithms/error_feedback/tensor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "codec/feedback.h"
#include "codec/parts.h"
#include "compress/algorithms/error_feedback/testing.h"

namespace lissom {
namespace {

using testing::gaussian;

using Bytes = std::vector<std::vector<std::byte>>;

const char* const kColumnwise[] = {"lissom_2_v1",     "lissom_2_5_v1",     "lissom_3_v1",
                                   "lissom_4_v1",     "int4_awq_v1",       "int4_awq_v1:g64",
                                   "int4_g8_fp16_v1", "int4_opt_llama_v1", "int4_ultimate_v1",
                                   "int4_hybrid_v2",  "calibrated_vq_v1",  "calibrated_vq_v1:s1"};

PlanEntry entry_of(const std::string& codec, const Shape& shape) {
  PlanEntry entry;
  entry.tensor = "w";
  entry.from = "F32";
  entry.codec = codec;
  entry.shape = shape;
  return entry;
}

std::vector<float> whole(const SquareMatrix& h) {
  std::vector<float> out;
  for (int64_t i = 0; i < h.n; ++i) out.insert(out.end(), h.row(i), h.row(i) + h.n);
  return out;
}

std::vector<float> decoded(const PlanEntry& entry, const Bytes& parts) {
  std::vector<float> out(static_cast<size_t>(entry.shape.elements()));
  const std::vector<std::span<const std::byte>> views(parts.begin(), parts.end());
  find_codec(entry.codec)->decode_rows(entry.shape, views, 0, entry.shape.rows(), out.data());
  return out;
}

/// Σ_rows (w - ŵ)·H·(w - ŵ)ᵀ
double lost(const PlanEntry& entry, const Bytes& parts, const std::vector<float>& w, const SquareMatrix& h) {
  ThreadPool pool(1);
  std::vector<float> e = decoded(entry, parts);
  for (size_t i = 0; i < e.size(); ++i) e[i] = w[i] - e[i];
  std::vector<double> rows(static_cast<size_t>(entry.shape.rows()));
  quadratic_forms(pool, h, e.data(), entry.shape.rows(), rows.data());
  double sum = 0;
  for (const double v : rows) sum += v;
  return sum;
}

TEST(TensorFeedback, EveryCodecLosesLessOutputThanItsSearch) {
  ThreadPool pool(1);
  const Shape shape{40, 256};
  const std::vector<float> w = gaussian(shape.elements(), 1);
  const SquareMatrix h = testing::coupled_moments(pool, shape.cols(), 2048, 2);
  std::vector<float> importance;
  for (int64_t i = 0; i < h.n; ++i) importance.push_back(h.row(i)[i]);
  std::vector<std::string> codecs(std::begin(kColumnwise), std::end(kColumnwise));
  codecs.insert(codecs.end(), {"Q4_0", "Q4_K", "IQ2_S"});
  for (const std::string& codec : codecs) {
    const PlanEntry entry = entry_of(codec, shape);
    ASSERT_TRUE(takes_feedback(entry)) << codec;
    Bytes fed;
    ASSERT_TRUE(encode_with_feedback(entry, w, importance, whole(h), fed)) << codec;
    const auto searched = encode_checked(*find_codec(codec), "w", shape, w, importance);
    ASSERT_TRUE(searched) << codec;
    EXPECT_LT(lost(entry, fed, w, h), 0.8 * lost(entry, *searched, w, h)) << codec;
    Bytes again;
    ASSERT_TRUE(encode_with_feedback(entry, w, importance, whole(h), again));
    EXPECT_EQ(fed, again) << codec;
  }
}

TEST(TensorFeedback, WithoutCorrelationNothingIsHandedOn) {
  // The trellis goes on from column to column in runs of another length, so that its bits differ.
  const Shape shape{12, 192};
  const std::vector<float> w = gaussian(shape.elements(), 3);
  const std::vector<float> equal(static_cast<size_t>(shape.cols()), 1.0F);
  std::vector<float> h(static_cast<size_t>(shape.cols() * shape.cols()), 0.0F);
  for (int64_t i = 0; i < shape.cols(); ++i) h[static_cast<size_t>(i * shape.cols() + i)] = 3.0F;
  for (const std::string codec : kColumnwise) {
    const PlanEntry entry = entry_of(codec, shape);
    Bytes fed;
    ASSERT_TRUE(encode_with_feedback(entry, w, {}, h, fed)) << codec;
    const auto searched = encode_checked(*find_codec(codec), "w", shape, w, equal);
    ASSERT_TRUE(searched);
    if (!codec.starts_with("lissom")) {
      EXPECT_EQ(fed, *searched) << codec;
    }
    double a = 0, b = 0;
    const auto x = decoded(entry, fed), y = decoded(entry, *searched);
    for (size_t i = 0; i < w.size(); ++i) {
      a += std::pow(static_cast<double>(w[i] - x[i]), 2);
      b += std::pow(static_cast<double>(w[i] - y[i]), 2);
    }
    EXPECT_LT(a, 1.15 * b) << codec;
  }
}

TEST(TensorFeedback, HostileShapesAndWeightsGiveSoundParts) {
  ThreadPool pool(1);
  for (const char* codec : kColumnwise)
    for (const auto& shape : {Shape{1, 64}, Shape{3, 576}, Shape{17, 192}, Shape{257, 80}}) {
      const PlanEntry entry = entry_of(codec, shape);
      std::vector<float> w = gaussian(shape.elements(), 5);
      w[7] = 4000;  // an outlier
      std::fill_n(w.begin() + shape.cols() * (shape.rows() / 2), shape.cols(), 0.0F);
      const SquareMatrix h = testing::coupled_moments(pool, shape.cols(), 3, 6);  // of rank 3
      Bytes parts;
      ASSERT_TRUE(encode_with_feedback(entry, w, {}, whole(h), parts)) << codec << " " << shape.str();
      if (const auto* check = dynamic_cast<const PartsCheck*>(find_codec(codec))) {
        const std::vector<std::span<const std::byte>> views(parts.begin(), parts.end());
        EXPECT_TRUE(check->check_parts(shape, views)) << codec << " " << shape.str();
      }
      for (const float v : decoded(entry, parts)) ASSERT_TRUE(std::isfinite(v)) << codec << " " << shape.str();
    }
}

TEST(TensorFeedback, AHessianOfNoUseLeavesTheTensorToTheSearch) {
  const Shape shape{4, 64};
  const std::vector<float> w = gaussian(shape.elements(), 7);
  std::vector<float> h(64 * 64, 0.0F);
  for (const char* codec : {"lissom_2_v1", "Q4_0"}) {
    Bytes parts;
    EXPECT_FALSE(encode_with_feedback(entry_of(codec, shape), w, {}, h, parts));
    EXPECT_FALSE(encode_with_feedback(entry_of(codec, shape), w, {}, std::span(h).first(64), parts));
    auto poisoned = h;
    poisoned[65] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_FALSE(encode_with_feedback(entry_of(codec, shape), w, {}, poisoned, parts));
    EXPECT_TRUE(parts.empty());
  }
}

TEST(TensorFeedback, TakesNoneThatLoseNothingOrCannot) {
  for (const char* codec : {"F16", "Q8_0", "svd_int8_v1:r16"})
    EXPECT_FALSE(takes_feedback(entry_of(codec, Shape{32, 64}))) << codec;
  PlanEntry copied = entry_of("lissom_2_v1", Shape{32, 64});
  copied.from = copied.codec;
  EXPECT_FALSE(takes_feedback(copied)) << "it would be collected for in vain";
}

}  // namespace
}  // namespace lissom
