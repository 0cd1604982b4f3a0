// The engine against transformers' outputs, and its gradients against differences.

#include <gtest/gtest.h>

#include <cmath>

#include "engine/distiller.h"
#include "engine/fisher.h"
#include "lissom/engine.h"
#include "runtime/observe.h"
#include "runtime/testing.h"
#include "support/golden.h"

extern "C" lissom::Engine* lissom_engine_create();

namespace lissom {
namespace {

using namespace testing_support;
using runtime::testing::tiny_model;
using runtime::testing::TinyModel;
using runtime::testing::TinyOptions;

class EngineGolden : public testing::TestWithParam<std::string> {};

TEST_P(EngineGolden, MatchesTransformers) {
  const Golden golden = load_golden(GetParam());
  OpenOptions options;
  options.need_tokenizer = false;
  const auto checkpoint = open_checkpoint((kFolder / GetParam()).string(), options);
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  const std::unique_ptr<Engine> engine(lissom_engine_create());
  const Config& c = checkpoint->config;
  const auto width = static_cast<size_t>(golden.what == "hidden" ? c.width
                                         : !c.labels.empty()     ? static_cast<int64_t>(c.labels.size())
                                                                 : c.vocab);
  std::vector<float> out;
  for (size_t s = 0; s < golden.ids.size(); ++s) {
    const auto rows = engine->forward(*checkpoint, golden.ids[s],
                                      golden.types.empty() ? std::span<const int32_t>() : golden.types[s], 64);
    ASSERT_TRUE(rows) << rows.error().message;
    const auto some = kept(*rows, width, golden.step);
    out.insert(out.end(), some.begin(), some.end());
  }
  ASSERT_EQ(out.size(), golden.expected.size());
  EXPECT_LE(relative_error(out, golden.expected), 1e-4);
}

INSTANTIATE_TEST_SUITE_P(Architectures, EngineGolden, testing::ValuesIn(golden_names()),
                         [](const auto& test) { return test.param; });

// ---------------------------------------------------------------- gradients

struct Student {
  TinyModel model;
  std::unique_ptr<Distiller> distiller;
  std::vector<std::vector<float>> values;  ///< by WeightId
  std::vector<int32_t> tokens;

  explicit Student(const TinyOptions& options, bool bf16 = false) : model(tiny_model(options)) {
    distiller = *engine::make_distiller(model.checkpoint, at::kCPU, {.threads = 1, .bf16 = bf16});
    tokens = runtime::testing::random_tokens(24, options.vocab, 3);
    for (const Weight& w : model.checkpoint.graph.weights) {
      const auto& teacher = model.weights.at(w.name);
      const auto noise =
          runtime::testing::random_tokens(static_cast<int64_t>(teacher.size()), 2001, values.size());
      values.push_back(teacher);
      // A student that is its teacher has no gradient.
      for (size_t i = 0; i < teacher.size(); ++i)
        values.back()[i] += 2e-4F * static_cast<float>(noise[i] - 1000) * std::max(std::abs(teacher[i]), 0.02F);
      distiller->set(static_cast<WeightId>(values.size()) - 1, values.back());
    }
  }
  double loss() { return *distiller->pass(tokens, 2); }
  void forget() {
    for (size_t w = 0; w < values.size(); ++w) (void)distiller->take_gradient(static_cast<WeightId>(w));
  }
};

struct Shape {
  const char* name;
  TinyOptions options;
};
class Gradients : public testing::TestWithParam<Shape> {};

TEST_P(Gradients, AreTheSlopesOfTheLoss) {
  Student student(GetParam().options);
  EXPECT_GT(student.loss(), 1e-3);
  std::vector<std::vector<float>> gradients;
  for (size_t w = 0; w < student.values.size(); ++w) {
    const auto g = student.distiller->take_gradient(static_cast<WeightId>(w));
    gradients.emplace_back(g.begin(), g.end());
    EXPECT_EQ(gradients.back().size(), student.values[w].size());
  }
  for (size_t w = 0; w < student.values.size(); ++w) {
    // Along the gradient itself the slope is its length. (All experts are used: a choice has no slope.)
    double square = 0, size = 0;
    for (const float g : gradients[w]) square += double{g} * double{g};
    for (const float v : student.values[w]) size += double{v} * double{v};
    ASSERT_GT(square, 0) << student.model.checkpoint.graph.weights[w].name;
    const double step = 2e-3 * std::sqrt(size) / std::sqrt(square);
    const auto moved = [&](double by) {
      std::vector<float> values = student.values[w];
      for (size_t i = 0; i < values.size(); ++i) values[i] += static_cast<float>(by * double{gradients[w][i]});
      student.distiller->set(static_cast<WeightId>(w), values);
      return student.loss();
    };
    const double slope = (moved(step) - moved(-step)) / (2 * step);
    student.distiller->set(static_cast<WeightId>(w), student.values[w]);
    EXPECT_NEAR(slope / square, 1.0, 0.03) << student.model.checkpoint.graph.weights[w].name;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, Gradients,
    testing::Values(Shape{"llama", {}}, Shape{"untied", {.tied = false}},
                    Shape{"gpt2", {.fused_qkv = true, .layer_norm = true, .gated = false, .rope = false}},
                    Shape{"gemma", {.qk_norm = true, .window = 5, .softcap = 3, .logit_softcap = 2}},
                    Shape{"interleaved", {.pairing = RopePairing::interleaved}},
                    Shape{"mixture", {.experts = {.count = 4, .used = 4, .ff = 64, .normalize = true}}}),
    [](const auto& test) { return test.param.name; });

TEST(Distiller, SumsOverPassesAndForgets) {
  Student student({});
  const double once = student.loss();
  const auto first = student.distiller->take_gradient(0);
  const std::vector<float> one(first.begin(), first.end());
  student.forget();
  EXPECT_EQ(student.loss(), once);
  EXPECT_EQ(student.loss(), once);
  const auto two = student.distiller->take_gradient(0);
  for (size_t i = 0; i < one.size(); ++i) EXPECT_NEAR(two[i], 2 * one[i], 1e-5F * std::abs(one[i]) + 1e-9F);
  student.forget();
  EXPECT_TRUE(student.distiller->take_gradient(0).empty());
}

TEST(Distiller, Bf16StaysClose) {
  Student exact({}), rounded({}, true);
  EXPECT_NEAR(rounded.loss(), exact.loss(), 0.05 * exact.loss());
  const auto a = exact.distiller->take_gradient(2), b = rounded.distiller->take_gradient(2);
  double dot = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    dot += double{a[i]} * double{b[i]};
    aa += double{a[i]} * double{a[i]};
    bb += double{b[i]} * double{b[i]};
  }
  EXPECT_GT(dot / std::sqrt(aa * bb), 0.98);
}

TEST(Distiller, RefusesWhatItCannotRead) {
  Student student({});
  EXPECT_FALSE(student.distiller->pass({}, 1));
  EXPECT_FALSE(student.distiller->pass(student.tokens, 5));
  std::vector<int32_t> wild = student.tokens;
  wild[3] = 96;
  const auto result = student.distiller->pass(wild, 2);
  ASSERT_FALSE(result);
  EXPECT_NE(result.error().message.find("vocabulary"), std::string::npos);
}

TEST(Distiller, ANonFiniteLossLeavesNoGradient) {
  Student student({});
  std::vector<float> broken = student.values[1];
  broken[0] = INFINITY;
  student.distiller->set(1, broken);
  EXPECT_FALSE(std::isfinite(student.loss()));
  for (size_t w = 0; w < student.values.size(); ++w)
    EXPECT_TRUE(student.distiller->take_gradient(static_cast<WeightId>(w)).empty());
}

// ---------------------------------------------------------------- Fisher information

/// The mean over many draws of what a pass gives.
std::map<WeightId, std::vector<double>> expected(TokenFisher& fisher, std::span<const int32_t> tokens) {
  constexpr int kDraws = 2000;
  std::map<WeightId, std::vector<double>> mean;
  for (int d = 0; d < kDraws; ++d) {
    const auto found = fisher.pass(tokens, static_cast<uint64_t>(d), nullptr);
    EXPECT_TRUE(found);
    for (const auto& [weight, values] : *found) {
      EXPECT_EQ(values.size(), tokens.size());
      std::vector<double>& of = mean[weight];
      of.resize(values.size());
      for (size_t t = 0; t < values.size(); ++t) of[t] += double{values[t]} / kDraws;
    }
  }
  return mean;
}

/// The trace as the curvature has it: twice the KL divergence that a push of an output gives, over the push's
/// square, averaged over the outputs.
TEST(TokenFisher, IsTheCurvatureOfTheDivergence) {
  const TinyModel model =
      tiny_model({.tied = false, .logit_softcap = 1});  // predictions of which no draw is rare
  const Graph& graph = model.checkpoint.graph;
  const std::vector<int32_t> token = {17};
  const auto fisher = engine::make_token_fisher(model.checkpoint, at::kCPU, {.threads = 1, .bf16 = false});
  ASSERT_TRUE(fisher);
  auto distiller = *engine::make_distiller(model.checkpoint, at::kCPU, {.threads = 1, .bf16 = false});
  const auto means = expected(**fisher, token);
  int seen = 0;
  for (const Op& op : graph.ops) {
    const auto* linear = std::get_if<LinearOp>(&op);
    if (linear == nullptr) continue;
    const Weight& weight = graph.weights[static_cast<size_t>(linear->weight)];
    // W + step·e_o·xᵀ/|x|² adds `step` to output o.
    std::vector<float> x;
    const auto tap = [&](const std::string& label, const float* row, int64_t, int64_t cols) {
      if (label == linear->input_label) x.assign(row, row + cols);
    };
    Batch batch;
    batch.tokens = token;
    const auto observer =
        runtime::Observer::create(model.checkpoint, {.threads = 1, .exact = true}, 16).value();
    ASSERT_TRUE(observer->run(std::span(&batch, 1), tap, [](size_t) -> Result<bool> { return true; }));
    ASSERT_EQ(static_cast<int64_t>(x.size()), weight.shape.cols());
    double square = 0;
    for (const float v : x) square += double{v} * double{v};
    constexpr double kStep = 0.1;  // what F32 can tell from nothing, and short of the curve's own bend
    double trace = 0;
    const std::vector<float>& source = model.weights.at(weight.name);
    for (int64_t o = 0; o < weight.shape.rows(); ++o)
      for (const double step : {kStep, -kStep}) {
        std::vector<float> pushed = source;
        for (size_t c = 0; c < x.size(); ++c)
          pushed[static_cast<size_t>(o) * x.size() + c] += static_cast<float>(step * double{x[c]} / square);
        distiller->set(linear->weight, pushed);
        trace += *distiller->pass(token, 1) / (kStep * kStep);
      }
    distiller->set(linear->weight, source);
    const double exact = trace / static_cast<double>(weight.shape.rows());
    const double found = means.at(linear->weight).front();
    if (weight.name.find("attn_q") != std::string::npos || weight.name.find("attn_k") != std::string::npos) {
      EXPECT_LT(found, 1e-12) << "a single token attends to itself alone";
      EXPECT_EQ(exact, 0);
      continue;
    }
    EXPECT_NEAR(found / exact, 1.0, 0.1) << weight.name;
    ++seen;
  }
  EXPECT_EQ(seen, 2 * 5 + 1);
}

TEST(TokenFisher, HasARowForEachToken) {
  const TinyModel model = tiny_model({.logit_softcap = 1});
  const auto fisher = engine::make_token_fisher(model.checkpoint, at::kCPU, {.threads = 1, .bf16 = false});
  ASSERT_TRUE(fisher);
  const WeightId last = model.checkpoint.graph.find_weight("blk.1.ffn_down.weight"),
                 first = model.checkpoint.graph.find_weight("blk.0.ffn_down.weight");
  ASSERT_GE(last, 0);
  const std::vector<int32_t> tokens = {5, 60, 33, 71};
  const auto whole = expected(**fisher, tokens);
  for (size_t n = 1; n < tokens.size(); ++n) {
    const auto prefix = expected(**fisher, std::span(tokens).first(n));
    // Nothing after a token sees what the last block makes of it; what the first makes, all that follow do.
    EXPECT_NEAR(prefix.at(last).back() / whole.at(last)[n - 1], 1.0, 0.1) << n;
    EXPECT_GT(whole.at(first)[n - 1], prefix.at(first).back()) << n;
  }
}

TEST(TokenFisher, OfTheHeadIsTheVarianceOfItsDraw) {
  const TinyModel model = tiny_model({});
  const std::vector<int32_t> tokens = {5, 60, 33};
  const std::unique_ptr<Engine> engine(lissom_engine_create());
  const auto logits = engine->forward(model.checkpoint, tokens, {}, 64);
  ASSERT_TRUE(logits);
  const auto fisher = engine->token_fisher(model.checkpoint, {.threads = 1, .bf16 = false});
  ASSERT_TRUE(fisher);
  WeightId head = -1;
  for (const Op& op : model.checkpoint.graph.ops)
    if (const auto* linear = std::get_if<LinearOp>(&op)) head = linear->weight;
  const std::vector<double> found = expected(**fisher, tokens).at(head);
  const size_t vocab = logits->size() / tokens.size();
  for (size_t t = 0; t < tokens.size(); ++t) {
    double sum = 0, squares = 0;
    for (size_t v = 0; v < vocab; ++v) sum += std::exp(double{(*logits)[t * vocab + v]});
    for (size_t v = 0; v < vocab; ++v) squares += std::pow(std::exp(double{(*logits)[t * vocab + v]}) / sum, 2);
    EXPECT_NEAR(found[t] * static_cast<double>(vocab) / (1 - squares), 1.0, 0.1) << t;
  }
}

/// Their diagonals add up to the tokens' means of squares; no moment is larger than its diagonal allows.
TEST(TokenFisher, MomentsAreThoseOfTheGradients) {
  const TinyModel model = tiny_model({});
  const auto fisher = engine::make_token_fisher(model.checkpoint, at::kCPU, {.threads = 1, .bf16 = false});
  ASSERT_TRUE(fisher);
  const Graph& graph = model.checkpoint.graph;
  const WeightId down = graph.find_weight("blk.0.ffn_down.weight"),
                 gate = graph.find_weight("blk.1.ffn_gate.weight");
  TokenFisher::Moments moments;
  for (const WeightId id : {down, gate}) {
    const auto rows = static_cast<size_t>(graph.weights[static_cast<size_t>(id)].shape.rows());
    moments[id].resize(rows * rows);
  }
  std::map<WeightId, double> expected;
  for (const uint64_t seed : {1, 2}) {
    const auto found = (*fisher)->pass(std::vector<int32_t>{5, 60, 33}, seed, &moments);
    ASSERT_TRUE(found);
    for (const auto& [id, sum] : moments) {
      const auto outputs = static_cast<double>(graph.weights[static_cast<size_t>(id)].shape.rows());
      for (const float mean : found->at(id)) expected[id] += outputs * double{mean};
    }
  }
  EXPECT_EQ(moments.size(), 2);
  for (const auto& [id, sum] : moments) {
    const auto rows = static_cast<size_t>(graph.weights[static_cast<size_t>(id)].shape.rows());
    double trace = 0;
    for (size_t i = 0; i < rows; ++i) {
      trace += double{sum[i * rows + i]};
      for (size_t j = 0; j < rows; ++j) {
        EXPECT_FLOAT_EQ(sum[i * rows + j], sum[j * rows + i]);
        EXPECT_LE(double{sum[i * rows + j]} * double{sum[i * rows + j]},
                  1.0001 * double{sum[i * rows + i]} * double{sum[j * rows + j]} + 1e-20);
      }
    }
    EXPECT_NEAR(trace / expected.at(id), 1.0, 1e-4);
  }
}

TEST(TokenFisher, IsTheSameForTheSameSeed) {
  const TinyModel model = tiny_model({});
  const auto fisher = engine::make_token_fisher(model.checkpoint, at::kCPU, {.threads = 1});
  ASSERT_TRUE(fisher);
  const std::vector<int32_t> tokens = {5, 60, 33};
  const auto one = *(*fisher)->pass(tokens, 1, nullptr);
  EXPECT_EQ(*(*fisher)->pass(tokens, 1, nullptr), one);
  EXPECT_NE(*(*fisher)->pass(tokens, 2, nullptr), one);
}

/// One block's weights at a time: read again for each way of each pass, and dropped; the numbers are the same.
TEST(TokenFisher, ByBlockIsTheSame) {
  for (const TinyOptions& options :
       {TinyOptions{}, TinyOptions{.tied = false, .logit_softcap = 1},
        TinyOptions{.experts = {.count = 4, .used = 2, .ff = 32}}, TinyOptions{.layers = 4, .rope = false}}) {
    const TinyModel model = tiny_model(options);
    const auto whole = engine::make_token_fisher(model.checkpoint, at::kCPU, {.threads = 1});
    const int read_whole = model.source->released;
    const auto by_block =
        engine::make_token_fisher(model.checkpoint, at::kCPU, {.threads = 1, .by_block = true});
    ASSERT_TRUE(whole && by_block);
    EXPECT_EQ(model.source->released, read_whole) << "nothing is held before a pass";
    const WeightId down = model.checkpoint.graph.find_weight("blk.1.attn_output.weight");
    const auto rows =
        static_cast<size_t>(model.checkpoint.graph.weights[static_cast<size_t>(down)].shape.rows());
    TokenFisher::Moments moments{{down, std::vector<float>(rows * rows)}}, moments_by_block = moments;
    const std::vector<int32_t> tokens = {5, 60, 33, 71, 8};
    for (const uint64_t seed : {1, 2}) {
      const auto expected = (*whole)->pass(tokens, seed, &moments);
      const auto found = (*by_block)->pass(tokens, seed, &moments_by_block);
      ASSERT_TRUE(expected && found);
      EXPECT_EQ(*found, *expected);
      EXPECT_GT(found->size(), 4U);
    }
    EXPECT_EQ(moments_by_block, moments);
    EXPECT_GE(model.source->released, read_whole + 2 * (read_whole - 1));
  }
}

TEST(TokenFisher, RefusesWhatItCannotRead) {
  const TinyModel model = tiny_model({});
  const auto fisher = engine::make_token_fisher(model.checkpoint, at::kCPU, {.threads = 1});
  ASSERT_TRUE(fisher);
  EXPECT_FALSE((*fisher)->pass({}, 0, nullptr));
  EXPECT_FALSE((*fisher)->pass(std::vector<int32_t>{3, 96}, 0, nullptr));
  EXPECT_FALSE(engine::make_token_fisher(
      tiny_model({.causal = false, .tied = false, .pooling = Pooling::cls}).checkpoint, at::kCPU, {}));
}

TEST(Engine, NamesItsDevice) {
  const std::unique_ptr<Engine> engine(lissom_engine_create());
  EXPECT_TRUE(engine->use("cpu"));
  EXPECT_NE(engine->description().find("(CPU)"), std::string::npos);
  for (const char* name : {"", "gpu", "cuda:", "cuda:x", "mps", "meta", "cpu cuda", "cuda:-1"}) {
    const auto used = engine->use(name);
    ASSERT_FALSE(used) << name;
    EXPECT_EQ(used.error().kind, ErrorKind::bad_input) << name;
    EXPECT_NE(used.error().message.find("--device"), std::string::npos);
  }
  const auto far = engine->use("cuda:100");
  ASSERT_FALSE(far);
  EXPECT_EQ(far.error().kind, ErrorKind::unsupported);
  EXPECT_NE(engine->description().find("(CPU)"), std::string::npos) << "a refused device changes nothing";
}

TEST(Distiller, NeedsAModelThatPredicts) {
  const TinyModel encoder = tiny_model({.causal = false, .tied = false, .pooling = Pooling::cls});
  const auto made = engine::make_distiller(encoder.checkpoint, at::kCPU, {});
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().kind, ErrorKind::unsupported);
}

}  // namespace
}  // namespace lissom
