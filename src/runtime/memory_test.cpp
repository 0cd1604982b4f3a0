#include <gtest/gtest.h>

#include "runtime/testing.h"

namespace lissom {
namespace {

using runtime::testing::tiny_model;
using runtime::testing::TinyModel;

std::vector<TensorInfo> list_of(const Checkpoint& checkpoint) {
  const auto tensors = checkpoint.tensors->tensors();
  return {tensors.begin(), tensors.end()};
}

TEST(MemoryNeed, WeightsAreWhatAModelHolds) {
  const TinyModel tiny = tiny_model({});
  for (const RuntimeOptions& options :
       {RuntimeOptions{.threads = 1}, {.threads = 1, .bf16 = true}, {.threads = 1, .exact = true}}) {
    const auto model = Model::load(tiny.checkpoint, options);
    ASSERT_TRUE(model);
    const auto need = memory_needed(tiny.checkpoint.graph, list_of(tiny.checkpoint), options, {});
    ASSERT_TRUE(need);
    EXPECT_EQ(need->weights, (*model)->weight_bytes()) << options.bf16 << options.exact;
    EXPECT_GT(need->loading, need->weights / 2);
  }
}

TEST(MemoryNeed, ExpertsAreHeldOneByOne) {
  const TinyModel tiny = tiny_model({.experts = {.count = 3, .used = 1, .ff = 40}});
  const RuntimeOptions options{.threads = 1};
  const auto model = Model::load(tiny.checkpoint, options);
  ASSERT_TRUE(model);
  const auto need = memory_needed(tiny.checkpoint.graph, list_of(tiny.checkpoint), options, {});
  ASSERT_TRUE(need);
  EXPECT_EQ(need->weights, (*model)->weight_bytes());
}

TEST(MemoryNeed, GrowsWithTheLoad) {
  const TinyModel tiny = tiny_model({});
  const auto tensors = list_of(tiny.checkpoint);
  const auto need = [&](const Load& load) {
    return memory_needed(tiny.checkpoint.graph, tensors, {}, load).value();
  };
  const Load small{64, 1, 16, 1}, wide{64, 1, 32, 1}, twice{128, 1, 16, 1};
  const MemoryNeed base = need(small);
  EXPECT_EQ(need(twice).cache, 2 * base.cache);
  EXPECT_EQ(need(twice).activations, base.activations);
  EXPECT_GT(need(wide).activations, base.activations);
}

/// An encoder's batch goes in pieces: more of them want room for their results alone.
TEST(MemoryNeed, OfAnEncoderIsThatOfAPiece) {
  const TinyModel tiny = tiny_model({.causal = false});
  const auto of_rows = [&](int64_t rows) {
    return memory_needed(tiny.checkpoint.graph, list_of(tiny.checkpoint), {}, {64 * 100, 100, rows, 1})
        ->activations;
  };
  EXPECT_EQ(of_rows(512), 2 * of_rows(256));
  const auto results = static_cast<uint64_t>(2048 * tiny.checkpoint.config.width) * sizeof(float);
  EXPECT_EQ(of_rows(2048), of_rows(512) + results);
}

}  // namespace
}  // namespace lissom
