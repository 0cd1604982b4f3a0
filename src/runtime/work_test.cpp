#include "runtime/work.h"

#include <gtest/gtest.h>

#include "kernels/kernels.h"
#include "runtime/testing.h"

namespace lissom::runtime {
namespace {

using testing::tiny_model;
using testing::TinyModel;

// The tiny model of the default options: 2 blocks, width 64, heads of 16, 96 words.
constexpr int64_t kQkv = (64 + 32 + 32) * 64, kAfter = 64 * 64 + 3 * 96 * 64, kHead = 96 * 64;

std::shared_ptr<Model> load(const TinyModel& tiny) {
  return Model::load(tiny.checkpoint, {.threads = 1}).value();
}

int64_t float_ops(const Work& work) {
  return work.bf16_ops + work.f32_ops;
}

TEST(Work, OpsAreTwoForEachWeightAndToken) {
  const auto model = load(tiny_model({.codec = "Q8_0"}));
  for (const int64_t tokens : {1, 7}) {
    const Work all = work_of(*model, tokens, tokens).value();
    EXPECT_EQ(all.int8_ops, 2 * tokens * (2 * (kQkv + kAfter) + kHead));
    EXPECT_EQ(float_ops(all), 0);
    // Of the last block only keys and values, and queries with them, are made for tokens whose logits nobody
    // wants.
    const Work none = work_of(*model, tokens, 0).value(), one = work_of(*model, tokens, 1).value();
    EXPECT_EQ(none.int8_ops, 2 * tokens * (2 * kQkv + kAfter));
    EXPECT_EQ(one.int8_ops, none.int8_ops + 2 * (kAfter + kHead));
  }
}

TEST(Work, FloatsAreCountedApart) {
  const Work f32 = work_of(*load(tiny_model({.codec = "F32"})), 8, 8).value();
  EXPECT_EQ(f32.int8_ops, 0);
  EXPECT_EQ(f32.bf16_ops, 0);
  EXPECT_EQ(f32.f32_ops, 16 * (2 * (kQkv + kAfter) + kHead));
  // In pairs where the CPU can.
  const Work bf16 = work_of(*load(tiny_model({.codec = "BF16"})), 8, 8).value();
  EXPECT_EQ(float_ops(bf16), f32.f32_ops);
  EXPECT_TRUE(bf16.bf16_ops == 0 || bf16.f32_ops == 0);
}

TEST(Work, BytesAreThoseThatTheModelHolds) {
  const TinyModel tiny = tiny_model({.codec = "Q8_0", .tied = false});
  const auto model = load(tiny);
  const auto& table = tiny.checkpoint.tensors
                          ->tensors()[static_cast<size_t>(tiny.checkpoint.tensors->find("token_embd.weight"))];
  // All but the table, of which each token looks up a row.
  const auto held = static_cast<int64_t>(model->weight_bytes() - table.bytes);
  const auto row = static_cast<int64_t>(table.bytes) / table.shape.rows();
  for (const int64_t tokens : {1, 5})
    EXPECT_EQ(work_of(*model, tokens, tokens)->weight_bytes, held + tokens * row);
}

TEST(Work, APromptIsReadInPieces) {
  const auto model = load(tiny_model({.codec = "Q8_0"}));
  Work by_hand = work_of(*model, 4, 0).value();
  by_hand += work_of(*model, 4, 0).value();
  by_hand += work_of(*model, 3, 1).value();
  const Work work = work_of_prompt(*model, 11, 4).value();
  EXPECT_EQ(work.int8_ops, by_hand.int8_ops);
  EXPECT_EQ(work.weight_bytes, by_hand.weight_bytes);
  EXPECT_EQ(work_of_prompt(*model, 4, 4)->int8_ops, work_of(*model, 4, 1)->int8_ops);
  EXPECT_EQ(work_of_prompt(*model, 0, 4)->int8_ops, 0);
}

TEST(Work, OfExpertsThoseThatAreChosen) {
  const TinyModel tiny =
      tiny_model({.codec = "Q8_0", .layers = 1, .experts = {.count = 4, .used = 2, .ff = 32}});
  const auto model = load(tiny);
  const int64_t expert = 3 * 32 * 64, rest = kQkv + 64 * 64 + 4 * 64 + kHead;
  EXPECT_EQ(work_of(*model, 1, 1)->int8_ops, 2 * (2 * expert + rest));
  EXPECT_EQ(work_of(*model, 3, 3)->int8_ops, 3 * 2 * (2 * expert + rest));
  // One token reads two of the four; three may read them all.
  const int64_t one = work_of(*model, 1, 1)->weight_bytes, three = work_of(*model, 3, 3)->weight_bytes;
  const auto bytes = static_cast<int64_t>(kernels::PackedMatrix::packed_bytes(*find_codec("Q8_0"), 32, 64) * 2 +
                                          kernels::PackedMatrix::packed_bytes(*find_codec("Q8_0"), 64, 32));
  const int64_t row =
      static_cast<int64_t>(kernels::PackedMatrix::packed_bytes(*find_codec("Q8_0"), 96, 64)) / 96;
  EXPECT_EQ(three - one, 2 * bytes + 2 * row);
}

TEST(Work, AnEncoderHasOneRowAfterPooling) {
  const auto model =
      load(tiny_model({.codec = "Q8_0", .causal = false, .classifier = true, .pooling = Pooling::mean}));
  const int64_t one = work_of(*model, 1, 1)->int8_ops, many = work_of(*model, 9, 9)->int8_ops;
  EXPECT_LT(many, 9 * one);
  EXPECT_GE(many, 9 * 2 * 2 * (kQkv + kAfter));
  EXPECT_EQ(cache_bytes_of_generation(*model, 10).value(), 0);
}

TEST(Work, TheCacheGrowsUpToItsWindow) {
  const int64_t position = 2 * 2 * 2 * 16 * 2;  // layers, keys and values, heads of 16 halves
  EXPECT_EQ(cache_bytes_of_generation(*load(tiny_model({})), 1).value(), position);
  EXPECT_EQ(cache_bytes_of_generation(*load(tiny_model({})), 10).value(), position * 55);
  EXPECT_EQ(cache_bytes_of_generation(*load(tiny_model({.window = 4})), 10).value(),
            position * (1 + 2 + 3 + 7 * 4));
}

}  // namespace
}  // namespace lissom::runtime
