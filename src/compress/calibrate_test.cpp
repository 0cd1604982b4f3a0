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

TEST(SquareSums, ExpertsAreCountedOneByOne) {
  Graph graph;
  for (const char* name :
       {"blk.0.ffn_gate_exps.weight", "blk.0.ffn_up_exps.weight", "blk.0.ffn_down_exps.weight"})
    graph.weights.push_back({name, Shape{3, 2, 2}, WeightRole::linear, {}});
  MoeOp moe{.in = 0, .router = 1, .out = 2, .gate = 0, .up = 1, .down = 2};
  moe.experts.count = 3;
  moe.input_label = "exps_in";
  moe.hidden_label = "down_in";
  graph.ops.emplace_back(moe);
  SquareSums sums;
  const float x[] = {1, 2, 3, 4};
  sums.add("exps_in#0", x, 2, 2);
  sums.add("exps_in#2", x, 1, 2);
  sums.add("down_in#2", x + 2, 1, 2);
  EXPECT_TRUE(sums.commit());
  const auto entries = sums.entries(graph);
  for (const char* name : {"blk.0.ffn_gate_exps.weight", "blk.0.ffn_up_exps.weight"}) {
    EXPECT_EQ(entries.at(name).sum_square, (std::vector<float>{10, 20, 0, 0, 1, 4}));
    EXPECT_EQ(entries.at(name).expert_tokens, (std::vector<int64_t>{2, 0, 1}));
    EXPECT_EQ(entries.at(name).tokens, 3);
  }
  EXPECT_EQ(entries.at("blk.0.ffn_down_exps.weight").sum_square, (std::vector<float>{0, 0, 0, 0, 9, 16}));
}

TEST(SquareSums, LayersOfOneMatrixAddUp) {
  Graph graph = two_linears_of_one_input();
  std::get<LinearOp>(graph.ops[1]).weight = 0;
  std::get<LinearOp>(graph.ops[1]).input_label = "in of the next layer";
  SquareSums sums;
  const float x[] = {1, 2, 3, 4};
  sums.add("in", x, 1, 2);
  sums.add("in of the next layer", x + 2, 1, 2);
  EXPECT_TRUE(sums.commit());
  const auto entries = sums.entries(graph);
  EXPECT_EQ(entries.at("blk.0.attn_q.weight").sum_square, (std::vector<float>{10, 20}));
  EXPECT_EQ(entries.at("blk.0.attn_q.weight").tokens, 2);
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
