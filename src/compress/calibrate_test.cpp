#include "compress/calibrate.h"

#include <gtest/gtest.h>

#include <limits>

namespace lissom {
namespace {

Graph two_linears_of_one_input() {
  Graph graph;
  graph.weights.resize(3);
  graph.weights[0].name = "blk.0.attn_q.weight";
  graph.weights[1].name = "blk.0.attn_k.weight";
  graph.weights[2].name = "blk.0.ffn_up.weight";
  graph.ops.emplace_back(LinearOp{.in = 0, .out = 1, .weight = 0, .bias = -1, .input_label = "in"});
  graph.ops.emplace_back(LinearOp{.in = 0, .out = 2, .weight = 1, .bias = -1, .input_label = "in"});
  graph.ops.emplace_back(LinearOp{.in = 2, .out = 3, .weight = 2, .bias = -1, .input_label = "never seen"});
  return graph;
}

TEST(SquareSums, LinearsOfOneInputShareItsSums) {
  SquareSums sums;
  const float first[] = {1, 2, 3, 4}, second[] = {-1, 0.5F};
  sums.add("in", first, 2, 2);
  EXPECT_TRUE(sums.commit());
  sums.add("in", second, 1, 2);
  EXPECT_TRUE(sums.commit());
  const auto entries = sums.entries(two_linears_of_one_input());
  ASSERT_EQ(entries.size(), 2U);
  for (const char* name : {"blk.0.attn_q.weight", "blk.0.attn_k.weight"}) {
    EXPECT_EQ(entries.at(name).sum_square, (std::vector<float>{11.0F, 20.25F}));
    EXPECT_EQ(entries.at(name).tokens, 3);
  }
}

TEST(SquareSums, AChunkThatIsNotFiniteLeavesNoTrace) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), 1e20F}) {
    SquareSums sums;
    const float good[] = {1, 2}, broken[] = {bad, 1};
    sums.add("in", good, 1, 2);
    EXPECT_TRUE(sums.commit());
    sums.add("in", good, 1, 2);
    sums.add("in", broken, 1, 2);
    EXPECT_FALSE(sums.commit());
    const auto entries = sums.entries(two_linears_of_one_input());
    EXPECT_EQ(entries.at("blk.0.attn_q.weight").sum_square, (std::vector<float>{1.0F, 4.0F}));
    EXPECT_EQ(entries.at("blk.0.attn_q.weight").tokens, 1);
  }
}

}  // namespace
}  // namespace lissom
