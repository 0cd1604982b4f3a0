#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "compress/layers.h"
#include "compress/pattern.h"
#include "compress/testing.h"
#include "lissom/compress.h"

namespace lissom {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string refusal(const std::string& yaml) {
  const auto scheme = parse_scheme(yaml, "my.yaml");
  return scheme ? "accepted" : scheme.error().message;
}

std::map<std::string, std::string> codecs_of(const Checkpoint& checkpoint, const Scheme& scheme, bool imatrix) {
  std::map<std::string, std::string> out;
  const auto plan = make_plan(checkpoint, scheme, imatrix);
  EXPECT_TRUE(plan) << plan.error().message;
  for (const PlanEntry& entry : plan->entries) out[entry.tensor] = entry.codec;
  return out;
}

TEST(Scheme, EveryBuiltInOneParsesUnderItsOwnName) {
  const auto names = scheme_names();
  EXPECT_GE(names.size(), 20U);
  for (const std::string& name : names) {
    const auto scheme = builtin_scheme(name);
    ASSERT_TRUE(scheme) << scheme.error().message;
    EXPECT_EQ(scheme->name, name);
    EXPECT_FALSE(scheme->description.empty()) << name;
  }
}

TEST(Scheme, NamesAreFoundInAnyCaseAndShort) {
  EXPECT_EQ(builtin_scheme("q4_k_m")->name, "Q4_K_M");
  EXPECT_EQ(builtin_scheme("Q4_K")->name, "Q4_K_M");
  EXPECT_EQ(builtin_scheme("QUALITY")->name, "quality");
  EXPECT_THAT(builtin_scheme("Q9_X").error().message, AllOf(HasSubstr("Q9_X"), HasSubstr("Q4_K_M")));
}

TEST(Scheme, AUsersRulesComeFirst) {
  const auto scheme = parse_scheme("tensors:\n  - {match: 'ffn_down', codec: Q2_K}\nbase: Q4_K_M\n", "my.yaml");
  ASSERT_TRUE(scheme) << scheme.error().message;
  EXPECT_EQ(scheme->name, "my");
  const auto codecs = codecs_of(testing::tiny_llama({.layers = 8, .width = 256}), *scheme, true);
  EXPECT_EQ(codecs.at("blk.3.ffn_down.weight"), "Q2_K");
  EXPECT_EQ(codecs.at("blk.3.ffn_up.weight"), "Q4_K");
  EXPECT_EQ(codecs.at("token_embd.weight"), "Q6_K");
  EXPECT_EQ(codecs.at("blk.3.ffn_norm.weight"), "F32");
}

TEST(Scheme, FirstMatchWins) {
  const auto scheme = parse_scheme(
      "default: Q8_0\ntensors:\n  - {match: 'attn_(q|k)', codec: Q5_0}\n  - {match: attn, codec: Q4_0}\n",
      "my.yaml");
  ASSERT_TRUE(scheme) << scheme.error().message;
  EXPECT_EQ(scheme->name, "my");
  const auto codecs = codecs_of(testing::tiny_llama({}), *scheme, true);
  EXPECT_EQ(codecs.at("blk.0.attn_q.weight"), "Q5_0");
  EXPECT_EQ(codecs.at("blk.0.attn_v.weight"), "Q4_0");
  EXPECT_EQ(codecs.at("blk.0.ffn_up.weight"), "Q8_0");
}

TEST(Scheme, MistakesNameFileLineAndField) {
  EXPECT_THAT(refusal("default: Q4_K\ntensors:\n  - {match: 'x', codec: Q9}\n"),
              AllOf(StartsWith("my.yaml:3: tensors[0].codec:"), HasSubstr("Q9"), HasSubstr("Q4_K")));
  EXPECT_THAT(refusal("default: Q4_K\ntensors:\n  - {match: '(', codec: Q4_K}\n"),
              AllOf(StartsWith("my.yaml:3: tensors[0].match: bad regular expression '('")));
  EXPECT_THAT(refusal("default: Q4_K\ntypo: 1\n"), AllOf(StartsWith("my.yaml:2: typo: unknown field")));
  EXPECT_THAT(refusal("default: Q4_K\ndefault: Q5_K\n"), HasSubstr("default: given twice"));
  EXPECT_THAT(refusal("default: [Q4_K]\n"), StartsWith("my.yaml:1: default: expected a string"));
  EXPECT_THAT(refusal("tensors: 7\ndefault: Q4_K\n"), StartsWith("my.yaml:1: tensors: expected a list"));
  EXPECT_THAT(refusal("default: Q4_K\ntensors: [{match: x}]\n"), HasSubstr("tensors[0]: needs codec"));
  EXPECT_THAT(refusal("default: Q4_K\ntensors: [{codec: Q4_K}]\n"), HasSubstr("tensors[0]: needs match"));
  EXPECT_THAT(refusal("default: Q4_K\ntensors: [{match: x, codec: Q4_K, layers: 5-2}]\n"),
              HasSubstr("tensors[0].layers: '5-2' is none of"));
  EXPECT_THAT(refusal("default: Q4_K\ntensors: [{match: x, codec: Q4_K, when: {min_gqa: -1}}]\n"),
              HasSubstr("tensors[0].when.min_gqa: expected a whole number"));
  EXPECT_THAT(refusal("default: Q4_K\nfallback: {Q4_K: Q6_K}\n"),
              HasSubstr("fallback.Q4_K: Q6_K divides no more"));
  EXPECT_THAT(refusal("base: nothing\n"), HasSubstr("base: unknown scheme"));
  EXPECT_THAT(refusal("name: x\n"), HasSubstr("needs default"));
  EXPECT_THAT(refusal("just words"), HasSubstr("expected a map"));
  EXPECT_THAT(refusal(""), HasSubstr("expected a map"));
  EXPECT_THAT(refusal("default: {a: [}\n"), StartsWith("my.yaml:1: "));
}

TEST(Scheme, HostileTextEndsInOneError) {
  std::string bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n";
  for (char c = 'b'; c < 'k'; ++c) {
    bomb += std::string(1, c) + ": &" + c + " [";
    for (int i = 0; i < 9; ++i) bomb += std::string(i > 0 ? ", " : "") + "*" + static_cast<char>(c - 1);
    bomb += "]\n";
  }
  EXPECT_THAT(refusal(bomb), AllOf(StartsWith("my.yaml:2: "), HasSubstr("aliases")));
  EXPECT_THAT(refusal(std::string(100000, '[')), HasSubstr("nested too deeply"));
  EXPECT_THAT(refusal(std::string(100000, '{')), HasSubstr("nested too deeply"));
  EXPECT_THAT(refusal("default: " + std::string(5000, 'x')), HasSubstr("longer than"));
  EXPECT_THAT(refusal(std::string(300000, ' ')), HasSubstr("larger than 256 KiB"));
  EXPECT_THAT(refusal("default: Q4_K\n---\ndefault: Q4_K\n"), HasSubstr("one document"));
  EXPECT_NE(refusal(std::string("default: \0\x01\xff Q4_K\n", 18)), "accepted");
  std::string rules = "default: Q4_K\ntensors:\n";
  for (int i = 0; i < 5000; ++i) rules += "- {match: x, codec: Q4_K}\n";
  EXPECT_THAT(refusal(rules), HasSubstr("more than 4096 rules"));
}

TEST(Pattern, EndlessBacktrackingIsCutOff) {
  const auto slow = Pattern::compile("^(([a-z])+.)+[A-Z]([a-z])+$");
  ASSERT_TRUE(slow);
  const auto found = slow->found_in(std::string(64, 'a'));
  ASSERT_FALSE(found);
  EXPECT_THAT(found.error().message, HasSubstr("retry-limit"));
  EXPECT_TRUE(*slow->found_in("abcDef"));
}

TEST(Layers, EachFormSelectsWhatItSays) {
  const auto chosen = [](const char* text, int64_t layers) {
    const auto selector = LayerSelector::parse(text);
    EXPECT_TRUE(selector) << text;
    std::vector<int64_t> out;
    for (int64_t l = -1; l < layers; ++l)
      if (selector->selects(l, layers)) out.push_back(l);
    return out;
  };
  using V = std::vector<int64_t>;
  EXPECT_EQ(chosen("", 2), (V{-1, 0, 1}));
  EXPECT_EQ(chosen("3", 5), (V{3}));
  EXPECT_EQ(chosen("0-1, 4-", 6), (V{0, 1, 4, 5}));
  EXPECT_EQ(chosen("<2", 5), (V{0, 1}));
  EXPECT_EQ(chosen("<n/8", 24), (V{0, 1, 2}));
  EXPECT_EQ(chosen("<n/8,>=7n/8", 17), (V{0, 1, 14, 15, 16}));
  // n/8 = 2, 7n/8 = 14: 0 1 | 4 7 10 13 | 14 15
  EXPECT_EQ(chosen("more_bits", 16), (V{0, 1, 4, 7, 10, 13, 14, 15}));
  for (const char* bad : {"x", "1-0", "-3", "<", "<n/0", "<n/", ">=n/8", ">=7n/0", ">=7n/", ">=7", "1,,2",
                          "9999999999999999999999", ","})
    EXPECT_FALSE(LayerSelector::parse(bad)) << bad;
}

TEST(Layers, AreReadFromNames) {
  EXPECT_EQ(layer_of("blk.12.attn_q.weight"), 12);
  EXPECT_EQ(layer_of("token_embd.weight"), -1);
  EXPECT_EQ(layer_of("blk.x.weight"), -1);
  EXPECT_EQ(layer_of("blk."), -1);
}

TEST(Plan, ColumnsThatDoNotDivideFallBack) {
  const Checkpoint checkpoint = testing::tiny_llama({.layers = 2, .width = 96, .ff = 256});
  const auto plan = make_plan(checkpoint, *builtin_scheme("Q4_K_M"), true);
  ASSERT_TRUE(plan);
  std::map<std::string, PlanEntry> by_name;
  for (const PlanEntry& entry : plan->entries) by_name[entry.tensor] = entry;
  EXPECT_EQ(by_name["blk.0.attn_q.weight"].codec, "Q5_0");
  EXPECT_TRUE(by_name["blk.0.attn_q.weight"].fallback);
  EXPECT_THAT(by_name["blk.0.attn_q.weight"].reason,
              HasSubstr("Q4_K wants a multiple of 256 columns, here 96"));
  EXPECT_EQ(by_name["token_embd.weight"].codec, "Q8_0");
  EXPECT_EQ(by_name["blk.0.ffn_down.weight"].codec, "Q4_K");
  EXPECT_FALSE(by_name["blk.0.ffn_down.weight"].fallback);
  EXPECT_TRUE(by_name["blk.0.ffn_norm.weight"].kept);
  uint64_t bytes = 0;
  int64_t weights = 0;
  for (const PlanEntry& entry : plan->entries) {
    bytes += entry.bytes;
    weights += entry.shape.elements();
  }
  EXPECT_EQ(plan->bytes, bytes);
  EXPECT_DOUBLE_EQ(plan->bits_per_weight, 8.0 * static_cast<double>(bytes) / static_cast<double>(weights));
  const auto narrow = make_plan(testing::tiny_llama({.width = 40, .ff = 40}), *builtin_scheme("Q4_K_M"), true);
  ASSERT_TRUE(narrow);
  EXPECT_EQ(narrow->entries[2].codec, "F16");
}

TEST(Plan, ConditionsAreAskedOfTheModel) {
  const Scheme q2 = *builtin_scheme("Q2_K");
  const auto wide = testing::tiny_llama({.layers = 2, .width = 256, .ff = 256, .heads = 4, .kv_heads = 1});
  EXPECT_EQ(codecs_of(wide, q2, false).at("blk.0.attn_v.weight"), "Q4_K");
  const auto narrow = testing::tiny_llama({.layers = 2, .width = 256, .ff = 256, .heads = 4, .kv_heads = 2});
  EXPECT_EQ(codecs_of(narrow, q2, false).at("blk.0.attn_v.weight"), "Q3_K");
  const auto eight = testing::tiny_llama({.layers = 8});
  EXPECT_EQ(codecs_of(eight, *builtin_scheme("Q4_0"), true).at("blk.0.ffn_down.weight"), "Q4_1");
  EXPECT_EQ(codecs_of(eight, *builtin_scheme("Q4_0"), false).at("blk.0.ffn_down.weight"), "Q4_0");
  const auto untied = testing::tiny_llama({.width = 256, .tied = false});
  EXPECT_EQ(codecs_of(untied, *builtin_scheme("Q4_K_M"), true).at("token_embd.weight"), "Q4_K");
  EXPECT_EQ(codecs_of(untied, *builtin_scheme("Q4_K_M"), true).at("output.weight"), "Q6_K");
}

TEST(Plan, ARuleMayHaveAFallbackOfItsOwn) {
  const std::string yaml =
      "default: Q4_K\ntensors:\n- {match: attn_q, codec: Q4_K, otherwise: Q4_1}\n- {match: attn_k, codec: "
      "Q4_K, otherwise: Q6_K}\n";
  const auto codecs = codecs_of(testing::tiny_llama({.width = 64}), *parse_scheme(yaml, "my.yaml"), true);
  EXPECT_EQ(codecs.at("blk.0.attn_q.weight"), "Q4_1");
  EXPECT_EQ(codecs.at("blk.0.attn_k.weight"), "Q8_0");  // Q6_K does not divide either
  EXPECT_EQ(codecs.at("blk.0.attn_v.weight"), "Q5_0");
}

TEST(Plan, WhatIsSmallAlreadyIsCopied) {
  const std::string yaml = "default: Q5_0\nkeep_smaller: true\ntensors: [{match: ffn_down, codec: IQ4_NL}]\n";
  const Scheme scheme = *parse_scheme(yaml, "my.yaml");
  const auto codecs = codecs_of(testing::tiny_llama({.type = "Q4_1"}), scheme, true);
  EXPECT_EQ(codecs.at("blk.0.attn_q.weight"), "Q4_1");
  EXPECT_EQ(codecs.at("blk.0.ffn_down.weight"), "IQ4_NL");
  EXPECT_EQ(codecs.at("blk.0.attn_norm.weight"), "F32");
  EXPECT_EQ(codecs_of(testing::tiny_llama({}), scheme, true).at("blk.0.attn_q.weight"), "Q5_0");
}

TEST(Plan, ASchemeIsPickedToFit) {
  const Checkpoint checkpoint = testing::tiny_llama({.layers = 4, .width = 256, .ff = 512});
  double last = 0;
  std::set<std::string> picked;
  for (const double bits : {3.5, 4.6, 5.0, 5.6, 6.7, 9.0, 17.0}) {
    const auto scheme = pick_scheme(checkpoint, bits, 0, true);
    ASSERT_TRUE(scheme) << scheme.error().message;
    const double got = make_plan(checkpoint, *scheme, true)->bits_per_weight;
    EXPECT_LE(got, bits);
    EXPECT_GE(got, last);
    last = got;
    picked.insert(scheme->name);
  }
  EXPECT_GE(picked.size(), 5U);
  const auto none = pick_scheme(checkpoint, 1.0, 0, true);
  ASSERT_FALSE(none);
  EXPECT_THAT(none.error().message,
              AllOf(HasSubstr("smallest possible here is IQ1_S"), HasSubstr("bits per weight")));
  EXPECT_FALSE(pick_scheme(checkpoint, 0, 1000, true));
}

TEST(Plan, ATensorOfNoWeightsIsRefused) {
  std::shared_ptr<testing::MemorySource> source;
  Checkpoint checkpoint = testing::tiny_llama({}, &source);
  Scheme scheme = *builtin_scheme("Q8_0");
  scheme.default_codec = "nothing";
  const auto plan = make_plan(checkpoint, scheme, false);
  ASSERT_FALSE(plan);
  EXPECT_THAT(plan.error().message, HasSubstr("nothing"));
}

}  // namespace
}  // namespace lissom
