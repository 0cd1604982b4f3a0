#include "compress/algorithms/low_rank/second_moments.h"

#include <gtest/gtest.h>

#include <cmath>

#include "support/toy_tokenizer.h"

namespace lissom {
namespace {

Checkpoint golden_llama() {
  return open_checkpoint(std::string(LISSOM_SOURCE_DIR) + "/tests/golden/llama", {.need_tokenizer = false})
      .value();
}

TEST(SecondMoments, AreOfEveryInputOnceWithTheImportanceAsDiagonal) {
  const Checkpoint checkpoint = golden_llama();
  const testing::ToyTokenizer tokenizer(false);
  const std::string text = "the quick brown fox jumped over!";  // two chunks
  SecondMomentOptions options;
  options.calibration.context = 16;
  options.calibration.runtime.threads = 1;
  const std::string q = "blk.0.attn_q.weight", k = "blk.0.attn_k.weight", up = "blk.0.ffn_up.weight",
                    gate = "blk.0.ffn_gate.weight", down = "blk.1.ffn_down.weight";
  const auto moments = collect_second_moments(checkpoint, tokenizer, text, {q, k, up, gate, down}, options, {});
  ASSERT_TRUE(moments) << moments.error().message;
  ASSERT_EQ(moments->size(), 5U);
  EXPECT_EQ(moments->at(up), moments->at(gate)) << "linears of one input share its moments";
  EXPECT_NE(*moments->at(q), *moments->at(k)) << "of keys tokens count as they are attended to";
  const Importance importance =
      collect_importance(checkpoint, tokenizer, text, "a text", options.calibration, {}).value();
  for (const std::string& name : {q, down}) {
    const std::vector<float>& h = *moments->at(name);
    const std::vector<float>& squares = importance.entries.at(name).sum_square;
    const size_t n = squares.size();
    ASSERT_EQ(h.size(), n * n) << name;
    double apart = 0;
    for (size_t i = 0; i < n; ++i) {
      EXPECT_NEAR(h[i * n + i], squares[i], 1e-4F * squares[i] + 1e-12F) << name;
      for (size_t j = 0; j < i; ++j) {
        EXPECT_EQ(h[i * n + j], h[j * n + i]);
        EXPECT_LE(std::fabs(h[i * n + j]), 1.001F * std::sqrt(squares[i] * squares[j]));
        apart += std::fabs(double{h[i * n + j]});
      }
    }
    EXPECT_GT(apart, 0) << name;
  }
}

TEST(SecondMoments, ChunksBeyondTheLimitAreNotRead) {
  const Checkpoint checkpoint = golden_llama();
  const testing::ToyTokenizer tokenizer(false);
  SecondMomentOptions options;
  options.calibration.context = 16;
  options.calibration.runtime.threads = 1;
  options.tokens = 16;
  const std::string name = "blk.0.attn_q.weight", half = "the quick brown ";
  const auto one =
      collect_second_moments(checkpoint, tokenizer, half + "fox jumped over!", {name}, options, {});
  const auto alone = collect_second_moments(checkpoint, tokenizer, half, {name}, options, {});
  ASSERT_TRUE(one && alone);
  EXPECT_EQ(*one->at(name), *alone->at(name));
  EXPECT_FALSE(collect_second_moments(checkpoint, tokenizer, "short", {name}, options, {}));
}

}  // namespace
}  // namespace lissom
