// The engine against transformers' outputs, and its gradients against differences.

#include <gtest/gtest.h>

#include <cmath>

#include "engine/distiller.h"
#include "lissom/engine.h"
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
    distiller = *engine::make_distiller(model.checkpoint, {.threads = 1, .bf16 = bf16});
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

TEST(Distiller, NeedsAModelThatPredicts) {
  const TinyModel encoder = tiny_model({.causal = false, .tied = false, .pooling = Pooling::cls});
  const auto made = engine::make_distiller(encoder.checkpoint, {});
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().kind, ErrorKind::unsupported);
}

}  // namespace
}  // namespace lissom
