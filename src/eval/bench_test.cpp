#include <gtest/gtest.h>

#include "lissom/eval.h"
#include "support/temp_folder.h"
#include "support/tiny_llama.h"

namespace lissom {
namespace {

TEST(Bench, CountsWhatATokenCosts) {
  const testing::TempFolder folder;
  const Checkpoint model = testing::tiny_llama(folder / "model.gguf");
  const auto results =
      bench(model, {.threads = {1, 2}, .prompt = 8, .generate = 4, .repeats = 1, .probe = false}, {});
  ASSERT_TRUE(results) << results.error().message;
  ASSERT_EQ(results->size(), 2U);
  for (const BenchResult& r : *results) {
    EXPECT_GT(r.prompt_tokens_per_second, 0);
    EXPECT_GT(r.generate_tokens_per_second, 0);
    EXPECT_GT(r.peak_rss, 0U);
    // Weights of the one block and of the head: queries, keys and values for every token, the rest for the
    // last.
    const double first = (32 + 16 + 16) * 32, after = 32 * 32 + 3 * 64 * 32, head = 258 * 32;
    EXPECT_EQ(r.prompt_int8_ops, 0);
    EXPECT_DOUBLE_EQ(r.prompt_bf16_ops + r.prompt_f32_ops, 2 * (8 * first + after + head) / 8);
    // F32 in panels of 16 rows, three norms, one row of the embedding; of the cache 1, 2, 3 and 4 positions of
    // two vectors of 16 halves.
    const double padded = 272.0 * 32;
    EXPECT_NEAR(r.generate_bytes, 4 * (first + after + padded + 3 * 32 + 32) + 2.5 * 2 * 32, 16);
    EXPECT_EQ(r.prompt_share, 0);
    EXPECT_EQ(r.generate_share, 0);
    EXPECT_EQ(r.peak.read_bytes_per_second, 0);
  }
}

TEST(Bench, SequencesShareTheWeightsAndADepthCostsCache) {
  const testing::TempFolder folder;
  const Checkpoint model = testing::tiny_llama(folder / "model.gguf");
  const auto bytes = [&](int64_t depth, int64_t sequences) {
    const auto results = bench(model,
                               {.threads = {1},
                                .prompt = 0,
                                .generate = 2,
                                .depth = depth,
                                .sequences = sequences,
                                .repeats = 1,
                                .probe = false},
                               {});
    return results ? results->front().generate_bytes : -1;
  };
  const double alone = bytes(0, 1), cache = 2 * 32;  // of a position
  EXPECT_DOUBLE_EQ(bytes(10, 1), alone + 10 * cache);
  EXPECT_NEAR(bytes(0, 4), (alone - 1.5 * cache) / 4 + 1.5 * cache,
              128);  // each looks up an embedding of its own
  const auto prompts = bench(
      model, {.threads = {1}, .prompt = 8, .generate = 0, .sequences = 3, .repeats = 1, .probe = false}, {});
  ASSERT_TRUE(prompts) << prompts.error().message;
  EXPECT_GT(prompts->front().prompt_tokens_per_second, 0);
  EXPECT_EQ(bytes(-1, 1), -1);
  EXPECT_EQ(bytes(0, 0), -1);
}

TEST(Bench, ShareIsTheTimeAtThePeakOverTheTimeTaken) {
  BenchResult r;
  r.prompt_tokens_per_second = 100;
  r.prompt_int8_ops = 2e9;
  r.peak = {.read_bytes_per_second = 1e10, .int8_ops_per_second = 1e12, .bf16_ops_per_second = 5e11};
  EXPECT_DOUBLE_EQ(share_of_peak(r), 0.2);
  r.prompt_bf16_ops = 1e9;  // at half the rate: as long again
  EXPECT_DOUBLE_EQ(share_of_peak(r), 0.4);
  r.prompt_f32_ops = 1;  // whose peak is not known
  EXPECT_EQ(share_of_peak(r), 0);
}

}  // namespace
}  // namespace lissom
