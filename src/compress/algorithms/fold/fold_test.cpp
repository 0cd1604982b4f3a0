#include "compress/algorithms/fold/fold.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "compress/algorithms/fold/pad_ffn.h"
#include "compress/testing.h"
#include "lissom/codec.h"
#include "lissom/runtime.h"
#include "support/golden.h"
#include "support/memory_source.h"
#include "support/toy_tokenizer.h"

namespace lissom {
namespace {

using namespace testing_support;
using ::testing::HasSubstr;

Checkpoint golden(const std::string& name) {
  return open_checkpoint((kFolder / name).string(), {.need_tokenizer = false}).value();
}

/// What the model says to the golden sequences.
std::vector<float> said(const Checkpoint& checkpoint, const Golden& golden) {
  const auto model = Model::load(checkpoint, {.threads = 1, .exact = true}).value();
  const auto n = static_cast<int64_t>(golden.ids.size());
  const auto session = Session::create(model, 64 * n, n).value();
  std::vector<int32_t> tokens, sequences, types;
  for (size_t s = 0; s < golden.ids.size(); ++s)
    for (size_t i = 0; i < golden.ids[s].size(); ++i) {
      tokens.push_back(golden.ids[s][i]);
      sequences.push_back(static_cast<int32_t>(s));
      if (!golden.types.empty()) types.push_back(golden.types[s][i]);
    }
  const Batch batch{.tokens = tokens, .sequences = sequences, .token_types = types};
  const auto result = session->run(batch).value();
  const auto rows = golden.what == "hidden" ? session->hidden() : result;
  return {rows.begin(), rows.end()};
}

/// A fifth to five, another for each channel.
std::vector<float> some_factors(int64_t n) {
  std::vector<float> out = testing::gaussian(n, 17);
  for (float& f : out) f = std::exp(std::clamp(f * 16, -1.6F, 1.6F));
  return out;
}

Checkpoint scaled_everywhere(const Checkpoint& checkpoint) {
  Transforms transforms;
  for (const FoldPair& pair : find_fold_pairs(checkpoint).pairs)
    fold_factors(checkpoint.graph, pair, some_factors(pair.channels), transforms);
  Checkpoint folded = checkpoint;
  folded.tensors = transformed(checkpoint.tensors, transforms);
  return folded;
}

std::vector<float> values_of(const Checkpoint& checkpoint, const std::string& name) {
  const auto index = static_cast<size_t>(checkpoint.tensors->find(name));
  const TensorView view = checkpoint.tensors->read(index).value();
  std::vector<float> out(static_cast<size_t>(view.info.shape.elements()));
  const std::span<const std::byte> bytes[] = {view.data};
  find_codec(view.info.type)->decode_rows(view.info.shape, bytes, 0, view.info.shape.rows(), out.data());
  return out;
}

class FoldGolden : public ::testing::TestWithParam<std::string> {};

TEST_P(FoldGolden, FactorsOfEveryPairChangeNothingThatTheModelSays) {
  const Golden expected = load_golden(GetParam());
  const Checkpoint checkpoint = golden(GetParam());
  const Checkpoint folded = scaled_everywhere(checkpoint);
  EXPECT_LE(relative_error(said(folded, expected), said(checkpoint, expected)), 1e-4);
}

TEST_P(FoldGolden, RotatedHeadsChangeNothingThatTheModelSays) {
  const Golden expected = load_golden(GetParam());
  const Checkpoint checkpoint = golden(GetParam());
  const RotatedModel rotated = rotate_model(checkpoint, {}, {.heads = true}).value();
  EXPECT_LE(relative_error(said(rotated.folded.checkpoint, expected), said(checkpoint, expected)), 1e-4);
}

TEST_P(FoldGolden, NeuronsOfZerosChangeNothingThatTheModelSays) {
  const Golden expected = load_golden(GetParam());
  const Checkpoint checkpoint = golden(GetParam());
  const auto padded = pad_ffn(checkpoint, kWideBlock);
  if (checkpoint.config.experts.count > 0) {
    EXPECT_EQ(padded.error().kind, ErrorKind::unsupported);
    return;
  }
  ASSERT_TRUE(padded) << padded.error().message;
  EXPECT_EQ(padded->config.ff, kWideBlock);
  EXPECT_LE(relative_error(said(*padded, expected), said(checkpoint, expected)), 1e-5);
}

INSTANTIATE_TEST_SUITE_P(Architectures, FoldGolden, ::testing::ValuesIn(golden_names()),
                         [](const auto& param) { return param.param; });

TEST(PadFfn, PutsZerosBehindEachMatrixOfNeurons) {
  const Checkpoint checkpoint = golden("phi3"), padded = pad_ffn(checkpoint, 48).value();
  ASSERT_EQ(padded.config.ff, 96);
  const std::vector<float> from = values_of(checkpoint, "blk.1.ffn_up.weight"),
                           to = values_of(padded, "blk.1.ffn_up.weight");
  ASSERT_EQ(to.size(), from.size() / 64 * 96) << "gate and up in one";
  const auto width = static_cast<size_t>(checkpoint.config.width);
  for (size_t r = 0; r < 2 * 96; ++r)
    for (size_t c = 0; c < width; ++c)
      ASSERT_EQ(to[r * width + c], r % 96 < 64 ? from[(r / 96 * 64 + r % 96) * width + c] : 0) << r;
  const std::vector<float> down = values_of(checkpoint, "blk.1.ffn_down.weight"),
                           wide = values_of(padded, "blk.1.ffn_down.weight");
  for (size_t r = 0; r < width; ++r)
    for (size_t c = 0; c < 96; ++c) ASSERT_EQ(wide[r * 96 + c], c < 64 ? down[r * 64 + c] : 0);
  EXPECT_EQ(padded.tensors->tensors()[0].type, checkpoint.tensors->tensors()[0].type);
}

TEST(PadFfn, LeavesWhatFitsAndRefusesWhatIsQuantized) {
  const Checkpoint tiny = testing::tiny_llama({.ff = 64, .type = "Q8_0"});
  Checkpoint model = tiny;
  model.config.hf_arch = "LlamaForCausalLM";
  const auto refused = pad_ffn(model, 256);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("Q8_0"));
  EXPECT_EQ(pad_ffn(model, 64).value().tensors, model.tensors);
}

TEST(PadFfn, IsCheapUpToASixteenth) {
  Config config;
  for (const auto& [ff, cheap] :
       {std::pair(5504, true), {10944, true}, {1536, false}, {1408, false}, {4000, true}}) {
    config.ff = ff;
    EXPECT_EQ(pads_cheaply(config), cheap) << ff;
  }
  config.ff = 5504;
  config.experts.count = 8;
  EXPECT_FALSE(pads_cheaply(config));
}

TEST(PadFfn, StatisticsOfNewNeuronsAreZero) {
  const Checkpoint padded = pad_ffn(golden("llama"), 256).value();
  Importance importance;
  importance.entries["blk.0.ffn_down.weight"].sum_square.assign(64, 2.0F);
  importance.entries["blk.0.ffn_up.weight"].sum_square.assign(32, 2.0F);
  pad_importance(padded, 64, importance);
  const auto& down = importance.entries["blk.0.ffn_down.weight"].sum_square;
  ASSERT_EQ(down.size(), 256U);
  EXPECT_EQ(down[63], 2);
  EXPECT_EQ(down[64], 0);
  EXPECT_EQ(importance.entries["blk.0.ffn_up.weight"].sum_square.size(), 32U);
}

std::map<std::string, std::string> pairs_of(const std::string& name) {
  std::map<std::string, std::string> out;
  const Checkpoint checkpoint = golden(name);
  for (const FoldPair& pair : find_fold_pairs(checkpoint).pairs) {
    std::string& text = out[pair.label];
    for (const FoldPair::Part& part : pair.producers)
      text += checkpoint.graph.weights[static_cast<size_t>(part.weight)].name + "+" +
              std::to_string(part.first) + " ";
    text += "> " + std::to_string(pair.consumers.size());
  }
  return out;
}

TEST(FoldPairs, AreFoundFromTheGraph) {
  const auto llama = pairs_of("llama");
  ASSERT_EQ(llama.size(), 8U) << "four in each of two layers";
  EXPECT_EQ(llama.at("blk.0.attn_in"), "blk.0.attn_norm.weight+0 > 3");
  EXPECT_EQ(llama.at("blk.0.attn_out_in"), "blk.0.attn_v.weight+0 > 1");
  EXPECT_EQ(llama.at("blk.1.ffn_in"), "blk.1.ffn_norm.weight+0 > 2");
  EXPECT_EQ(llama.at("blk.1.ffn_down_in"), "blk.1.ffn_up.weight+0 > 1");
  EXPECT_EQ(pairs_of("gemma3").size(), 8U) << "its second norms are between a linear and the stream";
  EXPECT_EQ(pairs_of("olmo2").size(), 4U) << "it has those alone";
  const auto gpt2 = pairs_of("gpt2");
  ASSERT_EQ(gpt2.size(), 6U) << "GELU is between up and down";
  EXPECT_EQ(gpt2.at("blk.0.attn_in"), "blk.0.attn_norm.weight+0 blk.0.attn_norm.bias+0 > 1");
  EXPECT_EQ(gpt2.at("blk.0.attn_out_in"), "blk.0.attn_qkv.weight+64 blk.0.attn_qkv.bias+64 > 1");
  EXPECT_EQ(pairs_of("phi3").at("blk.0.ffn_down_in").substr(0, 17), "blk.0.ffn_up.weig");
  EXPECT_EQ(pairs_of("bert").size(), 2U) << "v and o; a sum reads the norms";
  EXPECT_EQ(pairs_of("albert").size(), 1U) << "the embeddings' norm; all layers share their weights";
}

std::vector<std::string> left_of(const Checkpoint& checkpoint) {
  std::vector<std::string> out;
  for (const FoldPairs::Left& left : find_fold_pairs(checkpoint).left) out.push_back(left.what);
  return out;
}

TEST(FoldPairs, WhatIsLeftIsSaid) {
  const auto gpt2 = left_of(golden("gpt2"));
  EXPECT_THAT(gpt2, ::testing::Contains(HasSubstr("ffn_down_in: what makes it is not linear")));
  EXPECT_THAT(gpt2, ::testing::Contains(HasSubstr("it is a result of the model")));
  EXPECT_THAT(left_of(golden("albert")), ::testing::Contains(HasSubstr("used in several places")));
}

TEST(FoldPairs, QuantizedWeightsAreNotQuantizedAgain) {
  Checkpoint checkpoint = golden("llama");
  auto source = std::make_shared<testing::MemorySource>();
  for (const TensorInfo& info : checkpoint.tensors->tensors())
    source->add(info.name, info.shape, values_of(checkpoint, info.name),
                info.name == "blk.0.attn_output.weight" ? "Q8_0" : info.type);
  checkpoint.tensors = source;
  const FoldPairs found = find_fold_pairs(checkpoint);
  EXPECT_EQ(found.pairs.size(), 7U);
  EXPECT_THAT(left_of(checkpoint), ::testing::Contains(HasSubstr("blk.0.attn_output.weight is quantized")));
  EXPECT_EQ(rotate_model(checkpoint, {}, {.heads = true})->heads, 1);
  EXPECT_EQ(rotate_model(checkpoint, {}, {.heads = true})->left.size(), 1U);
}

TEST(FoldResidual, ChangesNothingThatTheModelSays) {
  for (const std::string name :
       {"llama_bias", "llama_llama3", "mistral", "phi3", "qwen3", "mixtral", "qwen3_moe", "dots1"}) {
    const Golden expected = load_golden(name);
    const Checkpoint checkpoint = golden(name);
    const auto rotated = rotate_model(checkpoint, {}, {.heads = true, .residual = true, .seed = 3});
    ASSERT_TRUE(rotated) << name << ": " << rotated.error().message;
    EXPECT_TRUE(rotated->residual);
    const Checkpoint& folded = rotated->folded.checkpoint;
    EXPECT_LE(relative_error(said(folded, expected), said(checkpoint, expected)), 1e-4) << name;
    EXPECT_NE(values_of(folded, "token_embd.weight"), values_of(checkpoint, "token_embd.weight"));
    for (const float w : values_of(folded, "output_norm.weight")) EXPECT_EQ(w, 1.0F);
  }
}

TEST(FoldResidual, IsRefusedWithItsReason) {
  const auto why = [](const std::string& name) {
    const auto rotated = rotate_model(golden(name), {}, {.residual = true});
    return rotated ? "rotated" : rotated.error().message;
  };
  EXPECT_THAT(why("llama"), HasSubstr("the token embeddings are also the head"));
  EXPECT_THAT(why("gpt_neox"), HasSubstr("LayerNorm"));
  EXPECT_THAT(why("olmo2"), HasSubstr("read the stream"));
  EXPECT_THAT(why("bert"), HasSubstr("no plain decoder"));
}

TEST(FoldRotation, IsOrthogonalForEverySize) {
  for (const int64_t n : {1, 2, 6, 9, 64, 96}) {
    const Rotation rotation(n, 5);
    const auto size = static_cast<size_t>(n);
    std::vector<float> m(size * size), turned;
    for (size_t i = 0; i < size; ++i) m[i * size + i] = 1;
    turned = m;
    rotation.turn_columns(m.data(), n, n);    // I·R
    rotation.turn_rows(turned.data(), n, n);  // Rᵀ·I
    double away = 0;
    for (size_t i = 0; i < size; ++i)
      for (size_t j = 0; j < size; ++j) {
        EXPECT_NEAR(m[i * size + j], turned[j * size + i], 1e-6F);
        double dot = 0;
        for (size_t k = 0; k < size; ++k)
          dot += static_cast<double>(m[i * size + k]) * static_cast<double>(m[j * size + k]);
        EXPECT_NEAR(dot, i == j ? 1.0 : 0.0, 1e-5) << n;
        if (i == j) away = std::max(away, std::fabs(static_cast<double>(m[i * size + j])));
      }
    EXPECT_LT(away, n > 4 ? 0.99 : 1.01) << "it mixes";
    std::vector<float> again(size, 1.0F), other = again, same = again;
    rotation.turn_columns(again.data(), 1, n);
    Rotation(n, 5).turn_columns(same.data(), 1, n);
    EXPECT_EQ(again, same);
    Rotation(n, 6).turn_columns(other.data(), 1, n);
    EXPECT_TRUE(n <= 4 || again != other) << "another seed";
  }
}

TEST(FoldRotation, StatisticsBecomeTheMeanOfWhatIsRotated) {
  Importance importance;
  Importance::Entry entry;
  for (int i = 0; i < 32; ++i) entry.sum_square.push_back(static_cast<float>(i));
  entry.tokens = 7;
  importance.entries["blk.0.attn_output.weight"] = entry;
  const auto rotated = rotate_model(golden("llama"), importance, {.heads = true}).value();
  const auto& sums = rotated.folded.importance->entries.at("blk.0.attn_output.weight").sum_square;
  EXPECT_FLOAT_EQ(sums[0], 3.5F);
  EXPECT_FLOAT_EQ(sums[31], 27.5F);
}

TEST(TransformedSource, PassesOnWhatItDoesNotNameAndRefusesWhatItCannotRead) {
  auto source = std::make_shared<testing::MemorySource>();
  source->add("a", Shape{2, 32}, std::vector<float>(64, 2.0F), "BF16");
  source->add("b", Shape{2, 32}, std::vector<float>(64, 2.0F), "BF16");
  source->add("v", Shape{4}, {1, 2, 3, 4});
  source->add("e", Shape{2, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8});
  Transforms t;
  t["a"].columns = std::vector<float>(32, 3.0F);
  t["v"].rows = {1, 2, 3, 4};
  t["e"].columns = {1, 10};
  t["e"].rows = {1, 100};
  const auto folded = transformed(source, t);
  EXPECT_EQ(folded->tensors()[0].type, "F32");
  EXPECT_EQ(folded->tensors()[0].bytes, 256U);
  EXPECT_EQ(folded->tensors()[1].type, "BF16");
  Checkpoint checkpoint;
  checkpoint.tensors = folded;
  EXPECT_EQ(values_of(checkpoint, "a"), std::vector<float>(64, 6.0F));
  EXPECT_EQ(values_of(checkpoint, "b"), std::vector<float>(64, 2.0F));
  EXPECT_EQ(values_of(checkpoint, "v"), (std::vector<float>{1, 4, 9, 16}));
  EXPECT_EQ(values_of(checkpoint, "e"), (std::vector<float>{1, 20, 300, 4000, 5, 60, 700, 8000}));
  EXPECT_EQ(transformed(source, {}), source);
}

const std::string kText = [] {
  std::string text;
  for (int i = 0; i < 40; ++i) text += "the quick brown fox number " + std::to_string(i * 7919) + " jumps; ";
  return text;
}();

ScaleOptions scale_options() {
  ScaleOptions options;
  options.calibration.context = 64;
  options.calibration.runtime.threads = 1;
  options.threads = 1;
  return options;
}

/// The golden llama, with a few channels of its first norm far larger than the others, as large models have.
Checkpoint with_outliers() {
  Checkpoint checkpoint = golden("llama");
  auto source = std::make_shared<testing::MemorySource>();
  for (const TensorInfo& info : checkpoint.tensors->tensors()) {
    std::vector<float> values = values_of(checkpoint, info.name);
    if (info.name == "blk.0.attn_norm.weight") {
      values[3] *= 30;
      values[20] *= 12;
    }
    source->add(info.name, info.shape, values);
  }
  checkpoint.tensors = source;
  return checkpoint;
}

Scheme q4_0() {
  return parse_scheme("name: test\ndefault: F32\ntensors:\n  - {match: 'blk', codec: Q4_0}\n", "test").value();
}

TEST(FoldScales, ChannelsThatMatterGetAFinerGrid) {
  const Checkpoint checkpoint = with_outliers();
  const Plan plan = make_plan(checkpoint, q4_0(), true).value();
  const testing::ToyTokenizer tokenizer(false);
  const ScaleOptions options = scale_options();
  const Importance importance =
      collect_importance(checkpoint, tokenizer, kText, "a text", options.calibration, {}).value();
  const ScaledModel scaled = scale_model(checkpoint, plan, importance, tokenizer, kText, options, {}).value();
  EXPECT_EQ(scaled.tried, 8);
  ASSERT_FALSE(scaled.pairs.empty());
  EXPECT_EQ(scaled.pairs.front().label, "blk.0.attn_in");
  EXPECT_LT(scaled.pairs.front().judge_ratio, 0.8);
  EXPECT_GT(scaled.pairs.front().judge_ratio, 0.0);
  EXPECT_GT(scaled.pairs.front().input_exponent, 0.0);
  const std::string norm = "blk.0.attn_norm.weight", q = "blk.0.attn_q.weight";
  const auto before = values_of(checkpoint, norm), after = values_of(scaled.folded.checkpoint, norm);
  EXPECT_GT(before[3] / after[3], before[5] / after[5]) << "what is large is scaled down, its weights up";
  const auto& sums = importance.entries.at(q).sum_square;
  const auto& folded = scaled.folded.importance->entries.at(q).sum_square;
  const auto factor = static_cast<double>(before[3]) / static_cast<double>(after[3]);
  EXPECT_NEAR(static_cast<double>(folded[3]), static_cast<double>(sums[3]) / (factor * factor),
              1e-4 * static_cast<double>(folded[3]));
  const Golden expected = load_golden("llama");
  EXPECT_LE(relative_error(said(scaled.folded.checkpoint, expected), said(checkpoint, expected)), 1e-4);
}

TEST(FoldScales, DependOnNeitherThreadsNorTheOrderOfRuns) {
  const Checkpoint checkpoint = with_outliers();
  const Plan plan = make_plan(checkpoint, q4_0(), true).value();
  ScaleOptions options = scale_options();
  const auto values = [&] {
    const auto scaled = scale_model(checkpoint, plan, {}, testing::ToyTokenizer(false), kText, options, {});
    return values_of(scaled.value().folded.checkpoint, "blk.0.attn_q.weight");
  };
  const std::vector<float> once = values();
  options.threads = 2;
  options.calibration.runtime.threads = 2;
  EXPECT_EQ(values(), once);
}

TEST(FoldScales, NothingIsFoldedWhereNothingIsLost) {
  const Checkpoint checkpoint = with_outliers();
  const Plan plan = make_plan(checkpoint, builtin_scheme("F16").value(), true).value();
  const ScaledModel scaled =
      scale_model(checkpoint, plan, {}, testing::ToyTokenizer(false), kText, scale_options(), {}).value();
  EXPECT_EQ(scaled.tried, 0);
  EXPECT_EQ(scaled.folded.checkpoint.tensors, checkpoint.tensors);
}

TEST(FoldScales, ChunksThatAreNotFiniteAreLeftOut) {
  Checkpoint checkpoint = golden("llama");
  auto source = std::make_shared<testing::MemorySource>();
  for (const TensorInfo& info : checkpoint.tensors->tensors()) {
    std::vector<float> values = values_of(checkpoint, info.name);
    if (info.name == "token_embd.weight")
      values[static_cast<size_t>('5' * checkpoint.config.width)] = std::numeric_limits<float>::quiet_NaN();
    source->add(info.name, info.shape, values);
  }
  checkpoint.tensors = source;
  const Plan plan = make_plan(checkpoint, q4_0(), true).value();
  const auto some = scale_model(checkpoint, plan, {}, testing::ToyTokenizer(false), kText, scale_options(), {});
  ASSERT_TRUE(some) << some.error().message;
  EXPECT_GT(some->chunks, 0);
  EXPECT_LT(some->chunks, static_cast<int64_t>(kText.size()) / 64);
  const auto none = scale_model(checkpoint, plan, {}, testing::ToyTokenizer(false), std::string(256, '5'),
                                scale_options(), {});
  ASSERT_FALSE(none);
  EXPECT_THAT(none.error().message, HasSubstr("not finite"));
  EXPECT_FALSE(scale_model(checkpoint, plan, {}, testing::ToyTokenizer(false), "short", scale_options(), {}));
}

}  // namespace
}  // namespace lissom
