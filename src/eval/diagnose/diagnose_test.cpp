#include "eval/diagnose/diagnose.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <numeric>

#include "eval/diagnose/parts.h"
#include "eval/diagnose/patched_source.h"
#include "eval/diagnose/testing.h"

namespace lissom {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::random_windows;
using testing::small_bert;
using testing::small_llama;
using testing::small_mixture;
using testing::small_model;
using testing::Spoil;

DiagnoseOptions two_threads() {
  DiagnoseOptions options;
  options.runtime.threads = 2;
  return options;
}

Diagnosis diagnosis(const Checkpoint& base, const Checkpoint& model,
                    const DiagnoseOptions& options = two_threads()) {
  Diagnosis found;
  const auto done = diagnose(base, model, random_windows(base.config, 4, 48), options, {}, found);
  EXPECT_TRUE(done) << done.error().message;
  return found;
}

std::vector<std::string> named(const Diagnosis& found) {
  std::vector<std::string> names;
  for (const Culprit& c : found.culprits) names.push_back(c.name);
  return names;
}

// ---------------------------------------------------------------- ways to spoil a tensor

void halve(const Weight&, std::vector<float>& v) {
  for (float& x : v) x *= 0.5F;
}
void zero(const Weight&, std::vector<float>& v) {
  std::ranges::fill(v, 0.0F);
}
void flip(const Weight&, std::vector<float>& v) {
  for (float& x : v) x = -x;
}
void disturb(const Weight&, std::vector<float>& v) {
  double square = 0;
  for (const float x : v) square += double{x} * double{x};
  const auto scale = static_cast<float>(std::sqrt(square / static_cast<double>(v.size())));
  testing::Random random(3);
  for (float& x : v) x += 0.8F * scale * random.uniform();
}
void permute(const Weight& w, std::vector<float>& v) {
  std::rotate(v.begin(), v.begin() + static_cast<ptrdiff_t>(w.shape.cols()), v.end());
}
void permute_vector(const Weight&, std::vector<float>& v) {
  std::rotate(v.begin(), v.begin() + 1, v.end());
}

struct Way {
  const char* name;
  void (*spoil)(const Weight&, std::vector<float>&);
};
constexpr Way kWays[] = {
    {"halved", halve}, {"zeroed", zero}, {"flipped", flip}, {"noisy", disturb}, {"permuted", permute}};

Spoil only(const std::string& tensor, void (*spoil)(const Weight&, std::vector<float>&)) {
  return [=](const Weight& w, std::vector<float>& v) {
    if (w.name == tensor) spoil(w, v);
  };
}

struct Case {
  const char* codec;
  const char* role;
  int64_t block;
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.codec << " blk." << c.block << "." << c.role;
}

class BrokenTensor : public ::testing::TestWithParam<Case> {};

TEST_P(BrokenTensor, IsNamedAndNothingElse) {
  const auto [codec, role, block] = GetParam();
  const Checkpoint base = small_model(small_llama());
  const std::string tensor = "blk." + std::to_string(block) + "." + role;
  for (const Way& way : kWays) {
    SCOPED_TRACE(way.name);
    const Diagnosis found = diagnosis(base, small_model(small_llama(), codec, only(tensor, way.spoil)));
    EXPECT_THAT(named(found), ::testing::ElementsAre(tensor)) << found.summary;
    if (found.culprits.empty()) continue;
    EXPECT_EQ(found.culprits.front().block, block);
    EXPECT_THAT(found.summary, HasSubstr(tensor));
    if (found.culprits.front().confirmed) {
      EXPECT_LT(found.repaired_loss, found.scan.loss);
    }
    EXPECT_TRUE(found.scan.complete);
  }
}

INSTANTIATE_TEST_SUITE_P(Roles, BrokenTensor,
                         ::testing::Values(Case{"Q4_0", "attn_q.weight", 3}, Case{"Q8_0", "attn_k.weight", 1},
                                           Case{"Q4_0", "attn_v.weight", 0},
                                           Case{"Q5_1", "attn_output.weight", 5},
                                           Case{"Q4_1", "ffn_gate.weight", 2}, Case{"Q4_0", "ffn_up.weight", 4},
                                           Case{"IQ4_NL", "ffn_down.weight", 3},
                                           Case{"F16", "ffn_down.weight", 0}));

TEST(Diagnose, NamesABrokenNorm) {
  const Checkpoint base = small_model(small_llama());
  for (const Way& way : {Way{"halved", halve}, Way{"flipped", flip}, Way{"permuted", permute_vector}}) {
    SCOPED_TRACE(way.name);
    const Diagnosis found =
        diagnosis(base, small_model(small_llama(), "Q4_0", only("blk.2.ffn_norm.weight", way.spoil)));
    EXPECT_THAT(named(found), ::testing::ElementsAre("blk.2.ffn_norm.weight")) << found.summary;
  }
}

TEST(Diagnose, NamesBrokenEmbeddings) {
  const Checkpoint base = small_model(small_llama());
  for (const Way& way : kWays) {
    SCOPED_TRACE(way.name);
    const Diagnosis found =
        diagnosis(base, small_model(small_llama(), "Q4_0", only("token_embd.weight", way.spoil)));
    EXPECT_THAT(named(found), ::testing::ElementsAre("token_embd.weight")) << found.summary;
  }
}

TEST(Diagnose, NamesAllOfSeveral) {
  const Checkpoint base = small_model(small_llama());
  const Diagnosis found =
      diagnosis(base, small_model(small_llama(), "Q4_0", [](const Weight& w, std::vector<float>& v) {
                  if (w.name == "blk.1.ffn_down.weight" || w.name == "blk.4.attn_v.weight") flip(w, v);
                }));
  EXPECT_THAT(named(found), ::testing::UnorderedElementsAre("blk.1.ffn_down.weight", "blk.4.attn_v.weight"));
  EXPECT_LT(found.repaired_loss, 0.5 * found.scan.loss);
}

TEST(Diagnose, NamesABrokenExpert) {
  const Checkpoint base = small_model(small_mixture());
  for (const Way& way : {kWays[0], kWays[1], kWays[2]}) {
    SCOPED_TRACE(way.name);
    const auto spoil = [&](const Weight& w, std::vector<float>& v) {
      if (w.name != "blk.3.ffn_down_exps.weight") return;
      const size_t each = v.size() / 4;
      std::vector<float> expert(v.begin() + static_cast<ptrdiff_t>(2 * each),
                                v.begin() + static_cast<ptrdiff_t>(3 * each));
      way.spoil(w, expert);
      std::ranges::copy(expert, v.begin() + static_cast<ptrdiff_t>(2 * each));
    };
    const Diagnosis found = diagnosis(base, small_model(small_mixture(), "Q4_0", spoil));
    EXPECT_THAT(named(found), ::testing::ElementsAre("blk.3.ffn_down_exps.weight (expert 2)")) << found.summary;
    EXPECT_LT(found.repaired_loss, found.scan.loss);
  }
}

TEST(Diagnose, NamesNothingWhereTheLossIsEven) {
  for (const Config& config : {small_llama(), small_llama(2), small_mixture()}) {
    const Checkpoint base = small_model(config);
    for (const char* codec : {"F32", "F16", "Q8_0", "Q5_0", "Q4_0", "Q4_1", "IQ4_NL", "MXFP4"}) {
      SCOPED_TRACE(codec);
      const Diagnosis found = diagnosis(base, small_model(config, codec));
      EXPECT_THAT(named(found), ::testing::IsEmpty());
      EXPECT_FALSE(found.summary.empty());
    }
  }
}

TEST(Diagnose, NamesNothingAtTwoAndThreeBits) {
  Config config = small_llama();
  config.width = config.ff = 256;
  config.head_dim = 64;
  config.rope.dim = 64;
  const Checkpoint base = small_model(config);
  for (const char* codec : {"Q2_K", "Q3_K", "IQ2_XXS", "IQ3_S"}) {
    SCOPED_TRACE(codec);
    EXPECT_THAT(named(diagnosis(base, small_model(config, codec))), ::testing::IsEmpty());
  }
  const Diagnosis found = diagnosis(base, small_model(config, "Q2_K", only("blk.3.attn_output.weight", halve)));
  EXPECT_THAT(named(found), ::testing::ElementsAre("blk.3.attn_output.weight")) << found.summary;
}

/// A base that lies on the grid of some tensors' codec loses nothing there, and the usual amount elsewhere.
TEST(Diagnose, AUsualErrorAmongNoneIsNoFault) {
  const Checkpoint base = small_model(small_llama(), "Q4_1");
  Checkpoint model = base;
  std::vector<std::string> names;
  for (const Weight& w : base.graph.weights)
    if (w.name.ends_with("ffn_down.weight") && block_of(w.name) < 2) names.push_back(w.name);
  model.tensors =
      std::make_shared<PatchedSource>(base.tensors, small_model(small_llama(), "Q4_0").tensors, names);
  const Diagnosis found = diagnosis(base, model);
  for (const TensorDifference& t : found.tensors) EXPECT_FALSE(t.outlier) << t.name;
}

// ---------------------------------------------------------------- the figures

TEST(Diagnose, FiguresOfWeights) {
  const Checkpoint base = small_model(small_llama(2));
  const Diagnosis found =
      diagnosis(base, small_model(small_llama(2), "F32", [](const Weight& w, std::vector<float>& v) {
                  if (w.name == "blk.0.attn_q.weight") halve(w, v);
                  if (w.name == "blk.0.attn_k.weight") flip(w, v);
                  if (w.name == "blk.1.ffn_up.weight") zero(w, v);
                }));
  std::map<std::string, TensorDifference> by_name;
  for (const TensorDifference& t : found.tensors) by_name[t.name] = t;
  EXPECT_EQ(by_name.size(), base.tensors->tensors().size());
  const TensorDifference& q = by_name["blk.0.attn_q.weight"];
  EXPECT_NEAR(q.relative_error, 0.5, 1e-6);
  EXPECT_NEAR(q.cosine, 1, 1e-6);
  EXPECT_NEAR(q.norm_ratio, 0.5, 1e-6);
  EXPECT_EQ(q.bits, 32);
  EXPECT_EQ(q.block, 0);
  EXPECT_NEAR(by_name["blk.0.attn_k.weight"].relative_error, 2, 1e-6);
  EXPECT_NEAR(by_name["blk.0.attn_k.weight"].cosine, -1, 1e-6);
  EXPECT_EQ(by_name["blk.1.ffn_up.weight"].relative_error, 1);
  EXPECT_EQ(by_name["blk.1.ffn_up.weight"].cosine, 0);
  EXPECT_EQ(by_name["blk.1.ffn_down.weight"].relative_error, 0);
  EXPECT_EQ(by_name["blk.1.ffn_down.weight"].cosine, 1);
}

TEST(Diagnose, OwnAndPropagatedErrorAreToldApart) {
  const Checkpoint base = small_model(small_llama());
  const Checkpoint model = small_model(small_llama(), "F32", only("blk.3.ffn_down.weight", flip));
  const Diagnosis found = diagnosis(base, model);
  ASSERT_EQ(found.layers.size(), 7U);
  for (const LayerDifference& l : found.layers) {
    SCOPED_TRACE(part_name(l.block));
    if (l.block == 3) {
      EXPECT_TRUE(l.outlier);
      EXPECT_GT(l.own.relative_error, 0.5);
    } else {
      EXPECT_EQ(l.own.relative_error, 0);
      EXPECT_FALSE(l.outlier);
    }
    if (l.block < 3) {
      EXPECT_EQ(l.state.relative_error, 0);
      EXPECT_NEAR(l.state.cosine, 1, 1e-12);
    } else {
      EXPECT_GT(l.state.relative_error, 0.05);
      EXPECT_LT(l.state.cosine, 0.999);
    }
    EXPECT_GT(l.norm, 0);
  }
  EXPECT_TRUE(found.logits.measured);
  EXPECT_LT(found.logits.cosine, 0.999);
  EXPECT_GT(found.logits.mse, 0);
  EXPECT_GT(found.logits.eval.kld_mean.value, 0);
}

TEST(Diagnose, TheSameModelHasNoLoss) {
  const Checkpoint base = small_model(small_llama(), "Q4_0");
  const Diagnosis found = diagnosis(base, base);
  EXPECT_TRUE(found.culprits.empty());
  EXPECT_EQ(found.logits.eval.kld_mean.value, 0);
  EXPECT_EQ(found.logits.mse, 0);
  EXPECT_EQ(found.scan.loss, 0);
  EXPECT_TRUE(found.scan.parts.empty());
  EXPECT_TRUE(found.scan.complete);
  for (const LayerDifference& l : found.layers) EXPECT_EQ(l.state.relative_error, 0);
}

/// What the scan says of a restored block is what a model with that block would have.
TEST(Diagnose, AGainIsThatOfTheModelSoRepaired) {
  const Checkpoint base = small_model(small_llama());
  const Checkpoint model = small_model(small_llama(), "Q4_0");
  const Diagnosis found = diagnosis(base, model);
  ASSERT_EQ(found.scan.parts.size(), 7U);  // and the embeddings; the head's matrix is theirs
  double sum = 0;
  for (const PartGain& part : found.scan.parts) {
    Checkpoint repaired = model;
    std::vector<std::string> names;
    for (const Weight& w : model.graph.weights)
      if (block_of(w.name) == part.block) names.push_back(w.name);
    repaired.tensors = std::make_shared<PatchedSource>(model.tensors, base.tensors, names);
    DiagnoseOptions options = two_threads();
    options.scan_seconds = 0;
    const Diagnosis then = diagnosis(base, repaired, options);
    EXPECT_FALSE(then.scan.measured);
    EXPECT_NEAR(then.logits.eval.kld_mean.value, part.loss, 1e-9) << part.name;
    EXPECT_NEAR(found.scan.loss - part.loss, part.gain, 1e-9);
    sum += part.gain;
  }
  EXPECT_NEAR(found.scan.loss, found.logits.eval.kld_mean.value, 1e-9);
  EXPECT_GT(sum, 0);
}

TEST(Diagnose, AllTensorsAreRestoredWhereAsked) {
  const Checkpoint base = small_model(small_llama(3));
  const Checkpoint model = small_model(small_llama(3), "Q4_0");
  DiagnoseOptions options = two_threads();
  options.all_tensors = true;
  EXPECT_EQ(diagnosis(base, model, options).scan.tensors.size(), 3U * 7 + 1);  // norms are the same
}

TEST(Diagnose, SaysWhichValuesAreNoNumbers) {
  const Checkpoint base = small_model(small_llama());
  const Diagnosis found = diagnosis(
      base, small_model(small_llama(), "F32",
                        only("blk.2.attn_v.weight", [](const Weight&, std::vector<float>& v) { v[5] = NAN; })));
  EXPECT_THAT(named(found), ::testing::ElementsAre("blk.2.attn_v.weight"));
  EXPECT_THAT(found.summary, HasSubstr("not finite"));
  EXPECT_FALSE(found.logits.measured);
  EXPECT_FALSE(found.scan.measured);
  const Diagnosis of_base = [&] {
    Diagnosis d;
    const auto done = diagnose(
        small_model(small_llama(), "F32",
                    only("blk.2.attn_v.weight", [](const Weight&, std::vector<float>& v) { v[5] = NAN; })),
        base, random_windows(base.config, 1, 16), two_threads(), {}, d);
    EXPECT_FALSE(done);
    EXPECT_THAT(done.error().message, HasSubstr("base"));
    return d;
  }();
  EXPECT_TRUE(of_base.layers.empty());
}

// ---------------------------------------------------------------- encoders

TEST(Diagnose, Encoders) {
  const Checkpoint base = small_model(small_bert());
  const Diagnosis even = diagnosis(base, small_model(small_bert(), "Q4_0"));
  EXPECT_TRUE(even.culprits.empty()) << even.summary;
  EXPECT_FALSE(even.logits.measured);
  EXPECT_EQ(even.scan.measure, "hidden");
  EXPECT_EQ(even.layers.size(), 7U);
  for (const char* role :
       {"attn_output.weight", "ffn_down.weight", "attn_v.weight", "layer_output_norm.weight"}) {
    const std::string tensor = "blk.2." + std::string(role);
    const Diagnosis found = diagnosis(base, small_model(small_bert(), "Q4_0", only(tensor, flip)));
    EXPECT_THAT(named(found), ::testing::ElementsAre(tensor)) << found.summary;
  }
}

// ---------------------------------------------------------------- stops and refusals

TEST(Diagnose, AStopKeepsWhatWasMeasured) {
  const Checkpoint base = small_model(small_llama());
  const Checkpoint model = small_model(small_llama(), "Q4_0", only("blk.3.ffn_down.weight", zero));
  for (const std::string stage : {"tensors", "layers", "restore parts"}) {
    SCOPED_TRACE(stage);
    bool stop = false;
    Progress progress;
    progress.step = [&](std::string_view at, int64_t done, int64_t, std::string_view) {
      stop = stop || (at == stage && done == 2);
    };
    progress.cancelled = [&] { return stop; };
    Diagnosis found;
    const auto done = diagnose(base, model, random_windows(base.config, 2, 48), two_threads(), progress, found);
    ASSERT_TRUE(done) << done.error().message;
    EXPECT_TRUE(found.interrupted);
    EXPECT_FALSE(found.scan.complete);
    EXPECT_EQ(found.tensors.size(), stage == "tensors" ? 2U : base.tensors->tensors().size());
    EXPECT_EQ(found.layers.size(), stage == "tensors" ? 0U : stage == "layers" ? 2U : 7U);
    EXPECT_EQ(found.scan.parts.size(), stage == "restore parts" ? 2U : 0U);
    // The broken one is the first to be restored.
    if (stage == "restore parts") {
      EXPECT_EQ(found.scan.parts.front().block, 3);
    }
    EXPECT_FALSE(found.summary.empty());
  }
}

TEST(Diagnose, TimeEndsTheScan) {
  const Checkpoint base = small_model(small_llama());
  DiagnoseOptions options = two_threads();
  options.scan_seconds = 1e-9;
  const Diagnosis found = diagnosis(base, small_model(small_llama(), "Q4_0"), options);
  EXPECT_TRUE(found.scan.measured);
  EXPECT_FALSE(found.scan.complete);
  EXPECT_FALSE(found.interrupted);
}

TEST(Diagnose, RefusesAnotherModel) {
  const Checkpoint base = small_model(small_llama());
  const auto refusal = [&](const Config& config) {
    Checkpoint other = small_model(config);
    other.path = "other.gguf";
    const auto same = check_same_model(base, other);
    return same ? std::string("accepted") : same.error().message;
  };
  Config config = small_llama();
  EXPECT_EQ(refusal(config), "accepted");
  EXPECT_THAT(refusal(small_llama(5)),
              AllOf(HasSubstr("other.gguf"), HasSubstr("F32"), HasSubstr("layers is 6 and 5")));
  EXPECT_THAT(refusal(small_bert()), HasSubstr("the architecture is 'llama' and 'bert'"));
  config.vocab = 128;
  EXPECT_THAT(refusal(config), AllOf(HasSubstr("vocabularies differ"), HasSubstr("96"), HasSubstr("128")));
  config = small_llama();
  config.ff = 128;
  EXPECT_THAT(refusal(config), HasSubstr("MLP"));
  config = small_llama();
  config.attention_bias = true;
  EXPECT_THAT(refusal(config), HasSubstr("not the same model"));
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

class Staged : public ::testing::TestWithParam<std::string> {};

/// In parts, every model says what it says in one piece.
TEST_P(Staged, RunsAsTheWhole) {
  const Checkpoint checkpoint =
      open_checkpoint((kGolden / GetParam()).string(), {.need_tokenizer = false}).value();
  RuntimeOptions options;
  options.threads = 2;
  ThreadPool pool(2);
  constexpr int64_t kTokens = 12;
  const auto staged = StagedModel::make(checkpoint, options, kTokens, pool).value();
  EXPECT_EQ(staged->blocks(), checkpoint.config.layers);
  std::vector<int32_t> tokens(kTokens);
  for (size_t i = 0; i < tokens.size(); ++i)
    tokens[i] = static_cast<int32_t>((i * 37 + 5) % static_cast<size_t>(checkpoint.config.vocab));
  std::vector<float> state(static_cast<size_t>(kTokens * staged->widest()));
  const auto run = [&](StageRange stages) {
    ASSERT_TRUE(staged->hold(stages));
    ASSERT_TRUE(staged->run(stages, tokens, state.data()));
  };
  run(staged->embeddings());
  for (int64_t b = 0; b < staged->blocks(); ++b) run(staged->block(b));

  const auto model = Model::load(checkpoint, options).value();
  const auto session = Session::create(model, kTokens).value();
  const auto result = session->run({.tokens = tokens});
  ASSERT_TRUE(result) << result.error().message;
  if (staged->head().empty() || !checkpoint.config.causal) {
    const auto hidden = session->hidden();
    if (staged->head().empty()) {
      EXPECT_TRUE(std::ranges::equal(hidden, std::span(state).first(hidden.size())));
    }
    return;
  }
  ASSERT_TRUE(staged->hold(staged->head()));
  const auto logits = staged->logits(state.data(), kTokens);
  ASSERT_TRUE(logits);
  EXPECT_TRUE(std::ranges::equal(*result, *logits));
}

INSTANTIATE_TEST_SUITE_P(Golden, Staged, ::testing::ValuesIn(golden_names()),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace lissom
