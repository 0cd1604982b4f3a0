#include "runtime/observe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <set>

#include "runtime/testing.h"

namespace lissom {
namespace {

namespace fs = std::filesystem;
using runtime::CompactAt;
using runtime::Executor;
using runtime::LoadedModel;
using runtime::Observer;
using runtime::Stage;
using runtime::testing::random_tokens;
using runtime::testing::tiny_model;
using runtime::testing::TinyModel;

constexpr int64_t kContext = 24;

struct Seen {
  std::vector<float> values;
  int64_t rows = 0, cols = 0;
  bool operator==(const Seen&) const = default;
};
using Inputs = std::map<std::string, Seen>;  ///< of one chunk, by label

void see(Inputs& inputs, const std::string& label, const float* x, int64_t rows, int64_t cols) {
  EXPECT_TRUE(inputs.emplace(label, Seen{{x, x + rows * cols}, rows, cols}).second) << label << " seen twice";
}

struct Text {
  explicit Text(const Config& config, int64_t chunks) {
    for (int64_t c = 0; c < chunks; ++c)
      tokens.push_back(random_tokens(kContext, config.vocab, static_cast<uint64_t>(c + 1)));
    for (int64_t i = 0; i < kContext; ++i) wanted.push_back(i % 8 == 3 ? 1 : 0);
    for (const auto& t : tokens) {
      batches.emplace_back();
      batches.back().tokens = t;
      if (config.causal) batches.back().wanted = wanted;
    }
  }
  std::vector<std::vector<int32_t>> tokens;
  std::vector<uint8_t> wanted;
  std::vector<Batch> batches;
};

/// Of a model that is in memory whole.
std::vector<Inputs> whole(const Checkpoint& checkpoint, const RuntimeOptions& options, const Text& text) {
  const auto model = LoadedModel::make(checkpoint, options, CompactAt::head).value();
  ThreadPool pool(options.threads);
  const auto& steps = model->program_.steps;
  EXPECT_TRUE(model->hold(runtime::needs_of(steps, model->graph_.weights.size()), pool));
  Executor executor(*model, pool);
  EXPECT_TRUE(executor.prepare(kContext, 1));
  std::vector<Inputs> seen(text.batches.size());
  for (size_t c = 0; c < seen.size(); ++c) {
    executor.set_tap([&](const std::string& label, const float* x, int64_t rows, int64_t cols) {
      see(seen[c], label, x, rows, cols);
    });
    EXPECT_TRUE(executor.begin(text.batches[c]));
    executor.run(steps);
  }
  return seen;
}

std::vector<Inputs> in_stages(const Checkpoint& checkpoint, const RuntimeOptions& options, const Text& text) {
  const auto observer = Observer::create(checkpoint, options, kContext).value();
  std::vector<Inputs> seen(text.batches.size());
  Inputs now;
  const auto result = observer->run(
      text.batches, [&](const std::string& l, const float* x, int64_t r, int64_t c) { see(now, l, x, r, c); },
      [&](size_t chunk) -> Result<bool> {
        seen[chunk].merge(now);
        EXPECT_TRUE(now.empty());
        return true;
      });
  EXPECT_TRUE(result) << result.error().message;
  return seen;
}

std::vector<Stage> stages_of(const Graph& graph) {
  return cut(only_inputs(runtime::lower(graph, CompactAt::head).value()));
}

/// The blocks whose matrices a stage multiplies by.
std::set<std::string> blocks_of(const Stage& stage, const Graph& graph) {
  std::set<std::string> blocks;
  const auto needs = runtime::needs_of(stage.steps, graph.weights.size());
  for (size_t i = 0; i < needs.size(); ++i)
    if (const std::string& name = graph.weights[i].name;
        (needs[i].matrix || needs[i].experts) && name.starts_with("blk."))
      blocks.insert(name.substr(0, name.find('.', 4)));
  return blocks;
}

// ---------------------------------------------------------------- every architecture

const fs::path kGolden = fs::path(LISSOM_SOURCE_DIR) / "tests/golden";

std::vector<std::string> golden_names() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(kGolden))
    if (fs::exists(entry.path() / "expected.json")) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

class Observing : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    auto opened = open_checkpoint((kGolden / GetParam()).string(), {.need_tokenizer = false});
    ASSERT_TRUE(opened) << opened.error().message;
    checkpoint_ = *std::move(opened);
  }
  Checkpoint checkpoint_;
};

TEST_P(Observing, SeesBitForBitWhatTheWholeModelDoes) {
  const Text text(checkpoint_.config, 3);
  for (const RuntimeOptions& options : {RuntimeOptions{.threads = 2}, {.threads = 1, .exact = true}}) {
    const auto expected = whole(checkpoint_, options, text), found = in_stages(checkpoint_, options, text);
    for (size_t c = 0; c < expected.size(); ++c) {
      ASSERT_EQ(found[c].size(), expected[c].size());
      for (const auto& [label, inputs] : expected[c]) EXPECT_EQ(found[c].at(label), inputs) << label;
    }
  }
}

TEST_P(Observing, HasNoTwoBlocksInMemory) {
  const auto stages = stages_of(checkpoint_.graph);
  // After the attention of each block and after each block, if not after the last.
  EXPECT_GE(static_cast<int64_t>(stages.size()), 2 * checkpoint_.config.layers - 1);
  for (size_t i = 0; i < stages.size(); ++i) {
    EXPECT_LE(blocks_of(stages[i], checkpoint_.graph).size(), 1U);
    EXPECT_EQ(stages[i].out.slot < 0, i + 1 == stages.size());
    EXPECT_EQ(stages[i].in.slot, i == 0 ? -1 : stages[i - 1].out.slot);
  }
}

INSTANTIATE_TEST_SUITE_P(Architectures, Observing, ::testing::ValuesIn(golden_names()),
                         [](const auto& test) { return test.param; });

// ---------------------------------------------------------------- what it leaves out

TEST(Observer, ShowsEveryInputOnceAndTheHeadWantedRows) {
  const TinyModel tiny = tiny_model({});
  const Text text(tiny.checkpoint.config, 1);
  const Inputs seen = in_stages(tiny.checkpoint, {.threads = 2}, text).front();
  EXPECT_EQ(seen.size(), 2U * 4 + 1);
  EXPECT_EQ(seen.at("blk.1.attn_in").rows, kContext);
  EXPECT_EQ(seen.at("blk.1.ffn_down_in").cols, 96);
  EXPECT_EQ(seen.at("output_in").rows, 3);
}

TEST(Observer, NeverTouchesTheOutputMatrix) {
  const TinyModel tiny = tiny_model({.tied = false});
  const Text text(tiny.checkpoint.config, 2);
  const auto expected = whole(tiny.checkpoint, {.threads = 1}, text);
  tiny.source->remove("output.weight");
  EXPECT_FALSE(Model::load(tiny.checkpoint, {.threads = 1}));
  EXPECT_EQ(in_stages(tiny.checkpoint, {.threads = 1}, text), expected);
}

TEST(Observer, AnEncodersLastProductsAreOnlyLookedAt) {
  const TinyModel tiny = tiny_model({.causal = false, .layer_norm = true, .gated = false, .rope = false});
  const Text text(tiny.checkpoint.config, 1);
  const auto expected = whole(tiny.checkpoint, {.threads = 1}, text);
  tiny.source->remove("blk.1.ffn_down.weight");
  EXPECT_EQ(in_stages(tiny.checkpoint, {.threads = 1}, text), expected);
}

TEST(Observer, AChunkThatIsDroppedGoesNoFurther) {
  const TinyModel tiny = tiny_model({});
  const Text text(tiny.checkpoint.config, 3);
  const auto observer = Observer::create(tiny.checkpoint, {.threads = 1}, kContext).value();
  std::map<size_t, int> passed;
  const auto drop = [&](size_t chunk) -> Result<bool> { return ++passed[chunk] < 2 || chunk != 1; };
  ASSERT_TRUE(observer->run(text.batches, {}, drop));
  const auto all = static_cast<int>(observer->stages().size());
  EXPECT_EQ(all, 5);
  EXPECT_EQ(passed, (std::map<size_t, int>{{0, all}, {1, 2}, {2, all}}));
  int calls = 0;
  const auto none = [&](size_t) -> Result<bool> { return ++calls < 0; };
  ASSERT_TRUE(observer->run(text.batches, {}, none));
  EXPECT_EQ(calls, 3);
  const auto stopped =
      observer->run(text.batches, {}, [](size_t) -> Result<bool> { return bad_input("enough"); });
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().message, "enough");
}

TEST(Observer, NamesWhatIsWrong) {
  const TinyModel tiny = tiny_model({});
  const auto observer = Observer::create(tiny.checkpoint, {.threads = 1}, kContext).value();
  const auto always = [](size_t) -> Result<bool> { return true; };
  const std::vector<int32_t> tokens{1, 96};
  Batch batch;
  batch.tokens = tokens;
  const auto token = observer->run({&batch, 1}, {}, always);
  ASSERT_FALSE(token);
  EXPECT_THAT(token.error().message, ::testing::HasSubstr("96"));
  tiny.source->remove("blk.1.ffn_up.weight");
  const auto missing = observer->run({&batch, 0}, {}, always);
  EXPECT_TRUE(missing) << "nothing to do";
  const Text text(tiny.checkpoint.config, 1);
  const auto absent = observer->run(text.batches, {}, always);
  ASSERT_FALSE(absent);
  EXPECT_THAT(absent.error().message, ::testing::HasSubstr("blk.1.ffn_up.weight"));
}

// ---------------------------------------------------------------- memory

TEST(ObserverMemory, IsThatOfOneStageAndOfTheChunks) {
  const TinyModel tiny = tiny_model({.tied = false, .layers = 12});
  const auto tensors = tiny.checkpoint.tensors->tensors();
  const Graph& graph = tiny.checkpoint.graph;
  const Load load{kContext, 1, kContext, 3};
  const auto need = [&](int64_t chunks, uint64_t carried) {
    return runtime::memory_to_observe(graph, tensors, {.threads = 1}, load, chunks, carried).value();
  };
  const MemoryNeed all = memory_needed(graph, tensors, {.threads = 1}, load).value();
  const MemoryNeed one = need(1, 1 << 20);
  EXPECT_LT(one.weights, all.weights / 12);
  EXPECT_EQ(one.cache, all.cache / 12);
  EXPECT_LT(one.peak(), all.peak());
  const uint64_t chunk = 64 * sizeof(float) * uint64_t{kContext};
  EXPECT_EQ(need(5, 1 << 20).activations, one.activations + 4 * chunk);
  EXPECT_EQ(need(5, 3 * chunk).activations, one.activations + 2 * chunk);
  EXPECT_EQ(need(5, 1).activations, one.activations) << "one chunk at a time at least";
}

}  // namespace
}  // namespace lissom
