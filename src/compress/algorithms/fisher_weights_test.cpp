#include "compress/algorithms/fisher_weights.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "compress/algorithms/low_rank/second_moments.h"
#include "compress/testing.h"
#include "support/toy_tokenizer.h"

namespace lissom {
namespace {

constexpr int64_t kTokens = 16;

/// Gives every linear the numbers of a table, chunk after chunk.
class Table final : public testing::FakeEngine {
 public:
  explicit Table(std::vector<std::vector<float>> chunks) : chunks_(std::move(chunks)) {}
  [[nodiscard]] Result<std::unique_ptr<TokenFisher>> token_fisher(const Checkpoint& checkpoint,
                                                                  const EngineOptions&) const override {
    return std::make_unique<Reader>(checkpoint, chunks_);
  }

 private:
  class Reader final : public TokenFisher {
   public:
    Reader(const Checkpoint& checkpoint, const std::vector<std::vector<float>>& chunks)
        : checkpoint_(checkpoint), chunks_(chunks) {}
    Result<ByWeight> pass(std::span<const int32_t> tokens, uint64_t, Moments*) override {
      EXPECT_EQ(tokens.size(), size_t{kTokens});
      ByWeight found;
      for (const Op& op : checkpoint_.graph.ops)
        if (const auto* linear = std::get_if<LinearOp>(&op)) found[linear->weight] = chunks_.at(next_);
      ++next_;
      return found;
    }

   private:
    const Checkpoint& checkpoint_;
    const std::vector<std::vector<float>>& chunks_;
    size_t next_ = 0;
  };
  std::vector<std::vector<float>> chunks_;
};

std::vector<float> only(size_t token, float weight) {
  std::vector<float> row(size_t{kTokens});
  row[token] = weight;
  return row;
}

class FisherWeightsTest : public ::testing::Test {
 protected:
  Checkpoint checkpoint_ =
      open_checkpoint(std::string(LISSOM_SOURCE_DIR) + "/tests/golden/llama", {.need_tokenizer = false})
          .value();
  std::vector<int32_t> ids_ = std::vector<int32_t>(size_t{2 * kTokens}, 5);
  std::vector<Batch> chunks_ = [this] {
    std::vector<Batch> chunks(2);
    for (size_t c = 0; c < 2; ++c) chunks[c].tokens = std::span(ids_).subspan(c * size_t{kTokens}, kTokens);
    return chunks;
  }();
  FisherWeights collect(const std::vector<std::vector<float>>& table) {
    return FisherWeights::collect(checkpoint_, Table(table), chunks_, {}, {.threads = 1}, {}).value();
  }
  std::string label_ = [this] {
    for (const Op& op : checkpoint_.graph.ops)
      if (const auto* linear = std::get_if<LinearOp>(&op))
        if (checkpoint_.graph.weights[static_cast<size_t>(linear->weight)].name == "blk.0.ffn_down.weight")
          return linear->input_label;
    return std::string();
  }();
};

TEST_F(FisherWeightsTest, ScaleRowsToAMeanOfOne) {
  FisherWeights weights = collect({only(3, 1), only(5, 3)});  // 1 and 3 of 32 tokens, in all 4
  ASSERT_TRUE(weights.knows(label_));
  const std::vector<float> x(size_t{kTokens * 2}, 2);
  const float* first = weights.weigh(label_, 0, x.data(), kTokens, 2);
  for (size_t t = 0; t < size_t{kTokens}; ++t) {
    EXPECT_FLOAT_EQ(first[2 * t], t == 3 ? 2 * std::sqrt(8.0F) : 0);
    EXPECT_FLOAT_EQ(first[2 * t + 1], first[2 * t]);
  }
  EXPECT_FLOAT_EQ(weights.weigh(label_, 1, x.data(), kTokens, 2)[10], 2 * std::sqrt(24.0F));
}

TEST_F(FisherWeightsTest, FewerRowsAreEverySoManyth) {
  FisherWeights weights = collect({only(8, 1), only(0, 1)});
  const std::vector<float> x(2, 1);
  const float* rows = weights.weigh(label_, 0, x.data(), 2, 1);  // tokens 0 and 8
  EXPECT_EQ(rows[0], 0);
  EXPECT_FLOAT_EQ(rows[1], 4);
}

TEST_F(FisherWeightsTest, LeaveAloneWhatTheyDoNotKnow) {
  const std::vector<float> x(size_t{kTokens}, 2);
  FisherWeights none;
  EXPECT_EQ(none.weigh(label_, 0, x.data(), kTokens, 1), x.data());
  FisherWeights weights = collect({only(3, 1), only(5, 3)});
  EXPECT_FALSE(weights.knows(label_ + "@values"));
  EXPECT_EQ(weights.weigh("another", 0, x.data(), kTokens, 1), x.data());
}

TEST_F(FisherWeightsTest, AChunkThatIsNotFiniteHasItsTokensAlike) {
  FisherWeights weights = collect({only(3, std::numeric_limits<float>::infinity()), only(5, 3)});
  const std::vector<float> x(size_t{kTokens}, 2);
  const float* rows = weights.weigh(label_, 0, x.data(), kTokens, 1);
  for (size_t t = 0; t < size_t{kTokens}; ++t) EXPECT_EQ(rows[t], 2);
}

TEST_F(FisherWeightsTest, GradientsThatAreZeroHaveAllTokensAlike) {
  FisherWeights weights = collect({only(3, 0), only(5, 0)});
  const std::vector<float> x(size_t{kTokens}, 2);
  EXPECT_EQ(weights.weigh(label_, 1, x.data(), kTokens, 1)[7], 2);
}

TEST_F(FisherWeightsTest, GoIntoTheSecondMoments) {
  SecondMomentOptions options;
  options.calibration.context = kTokens;
  options.calibration.runtime.threads = 1;
  const std::string text = "the quick brown fox jumped over!", up = "blk.1.ffn_up.weight",
                    v = "blk.1.attn_v.weight";
  const auto moments = [&](const Engine* engine) {
    options.engine = engine;
    return collect_second_moments(checkpoint_, testing::ToyTokenizer(false), text, {up, v}, options, {})
        .value();
  };
  const Hessians alike = moments(nullptr);
  const Table table({only(3, 1), only(5, 0)});
  const Hessians weighed = moments(&table);
  EXPECT_EQ(*alike.at(v), *weighed.at(v)) << "values' tokens count as they are attended to";
  // Of one token alone, XᵀX has rank one.
  const std::vector<float>& h = *weighed.at(up);
  const auto n = static_cast<size_t>(checkpoint_.config.width);
  ASSERT_EQ(h.size(), n * n);
  float largest = 0;
  for (const float w : h) largest = std::max(largest, std::fabs(w));
  ASSERT_GT(largest, 0);
  for (size_t i = 1; i < n; ++i)
    for (size_t j = 1; j < n; ++j) EXPECT_NEAR(h[i * n + j] * h[0], h[i * n] * h[j], 1e-4F * largest * largest);
  EXPECT_NE(*alike.at(up), h);
}

}  // namespace
}  // namespace lissom
