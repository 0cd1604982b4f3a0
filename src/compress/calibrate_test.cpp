#include "compress/calibrate.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "support/toy_tokenizer.h"

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

// ---------------------------------------------------------------- a model that reads

/// Another source with some values replaced; all of it F32.
class EditedSource final : public TensorSource {
 public:
  explicit EditedSource(std::shared_ptr<const TensorSource> source) : source_(std::move(source)) {}
  /// A copy of a tensor that is read in place of the original.
  float* edit(const std::string& name) {
    const auto index = static_cast<size_t>(source_->find(name));
    const TensorView view = source_->read(index).value();
    auto& values = edited_[index];
    values.resize(view.data.size() / sizeof(float));
    std::memcpy(values.data(), view.data.data(), view.data.size());
    return values.data();
  }
  [[nodiscard]] std::span<const TensorInfo> tensors() const override { return source_->tensors(); }
  [[nodiscard]] Result<TensorView> read(size_t index) const override {
    const auto found = edited_.find(index);
    if (found == edited_.end()) return source_->read(index);
    return TensorView{tensors()[index], std::as_bytes(std::span(found->second)), {}};
  }
  void release(size_t index) const override { source_->release(index); }
  [[nodiscard]] std::string origin() const override { return source_->origin(); }

 private:
  std::shared_ptr<const TensorSource> source_;
  std::map<size_t, std::vector<float>> edited_;
};

Checkpoint golden(const std::string& name) {
  return open_checkpoint(std::string(LISSOM_SOURCE_DIR) + "/tests/golden/" + name, {.need_tokenizer = false})
      .value();
}

/// A llama in which a chunk with the letter Z overflows, in the second layer alone: only Z has a first feature,
/// which no layer adds to.
Checkpoint overflowing_llama() {
  Checkpoint checkpoint = golden("llama");
  const auto source = std::make_shared<EditedSource>(checkpoint.tensors);
  const int64_t width = checkpoint.config.width, ff = checkpoint.config.ff;
  float* embedding = source->edit("token_embd.weight");
  for (int64_t token = 0; token < checkpoint.config.vocab; ++token)
    embedding[token * width] = token == 'Z' ? 1.0F : 0.0F;
  for (const char* name : {"blk.0.attn_output.weight", "blk.1.attn_output.weight"})
    std::fill_n(source->edit(name), width, 0.0F);
  std::fill_n(source->edit("blk.0.ffn_down.weight"), ff, 0.0F);
  source->edit("blk.1.ffn_up.weight")[0] = 1e25F;
  checkpoint.tensors = source;
  return checkpoint;
}

const std::string kGood = "the quick brown fox jumped over!", kBad = "a lazy Zebra may";  // chunks of 16

Result<Importance> collect(const Checkpoint& checkpoint, const std::string& text,
                           uint64_t carried_bytes = 1 << 20, const Progress& progress = {}) {
  CalibrationOptions options;
  options.context = 16;
  options.carried_bytes = carried_bytes;
  options.runtime.threads = 1;
  return collect_importance(checkpoint, testing::ToyTokenizer(false), text, "a text", options, progress);
}

void expect_same(const Importance& found, const Importance& expected) {
  ASSERT_EQ(found.entries.size(), expected.entries.size());
  for (const auto& [name, entry] : expected.entries) {
    EXPECT_EQ(found.entries.at(name).sum_square, entry.sum_square) << name;
    EXPECT_EQ(found.entries.at(name).tokens, entry.tokens) << name;
    EXPECT_EQ(found.entries.at(name).expert_tokens, entry.expert_tokens) << name;
  }
}

TEST(CollectImportance, SumsTheInputsOfEveryLinear) {
  const Importance importance = collect(golden("llama"), kGood).value();
  EXPECT_EQ(importance.chunks, 2);
  EXPECT_EQ(importance.chunk_size, 16);
  EXPECT_EQ(importance.entries.size(), 2U * 7 + 1);
  EXPECT_EQ(importance.entries.at("blk.1.ffn_down.weight").tokens, 32);
  EXPECT_EQ(importance.entries.at("token_embd.weight").tokens, 2 * 16 / kHeadStride) << "the tied output";
  // RMS norm leaves a mean square of one, times the norm's weight: ones in this model.
  double sum = 0;
  for (const float v : importance.entries.at("blk.0.attn_q.weight").sum_square) sum += double{v};
  EXPECT_NEAR(sum / (32 * 32), 1.0, 0.05);
}

TEST(CollectImportance, AChunkThatIsNotFiniteIsLeftOutOfAllLayers) {
  const Checkpoint checkpoint = overflowing_llama();
  const Importance expected = collect(checkpoint, kGood).value();
  EXPECT_EQ(expected.skipped_chunks, 0);
  const std::string text = fmt::format("{0}{1}{0}{2}", kBad, kGood.substr(0, 16), kGood.substr(16));
  for (const uint64_t carried : {1 << 20, 1}) {
    const Importance found = collect(checkpoint, text, carried).value();
    EXPECT_EQ(found.chunks, 2);
    EXPECT_EQ(found.skipped_chunks, 2);
    expect_same(found, expected);
  }
  const auto none = collect(checkpoint, kBad);
  ASSERT_FALSE(none);
  EXPECT_NE(none.error().message.find("not finite"), std::string::npos);
}

TEST(CollectImportance, SeveralPassesOverTheWeightsChangeNothing) {
  for (const char* name : {"llama", "qwen3_moe", "bert", "mistral"}) {
    const Checkpoint checkpoint = golden(name);
    const std::string text = fmt::format("{0}{1}{0}{0}", kGood, kBad);
    const uint64_t chunk = static_cast<uint64_t>(checkpoint.config.width) * 16 * sizeof(float);
    const Importance expected = collect(checkpoint, text).value();
    EXPECT_EQ(expected.chunks, 7);
    expect_same(collect(checkpoint, text, 3 * chunk).value(), expected);
    expect_same(collect(checkpoint, text, 0).value(), expected);
  }
}

TEST(CollectImportance, StopsWhereItIsAskedTo) {
  Progress progress;
  int64_t seen = 0;
  progress.step = [&](std::string_view, int64_t done, int64_t, std::string_view) { seen = done; };
  progress.cancelled = [&] { return seen == 3; };
  const auto stopped = collect(golden("llama"), kGood, 1 << 20, progress);
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().kind, ErrorKind::cancelled);
  EXPECT_EQ(seen, 3);
}

}  // namespace
}  // namespace lissom
