#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "runtime/testing.h"

namespace lissom {
namespace {

using runtime::testing::interpret;
using runtime::testing::random_tokens;
using runtime::testing::relative_error;
using runtime::testing::tiny_model;
using runtime::testing::TinyModel;
using runtime::testing::TinyOptions;

std::unique_ptr<Session> session_of(const TinyModel& tiny, RuntimeOptions options, int64_t context = 64,
                                    int64_t sequences = 1) {
  auto model = Model::load(tiny.checkpoint, options);
  EXPECT_TRUE(model) << (model ? "" : model.error().message);
  auto session = Session::create(*model, context, sequences);
  EXPECT_TRUE(session) << (session ? "" : session.error().message);
  return std::move(*session);
}

std::vector<float> logits_of(Session& session, const Batch& batch) {
  const auto result = session.run(batch);
  EXPECT_TRUE(result) << (result ? "" : result.error().message);
  return result ? std::vector<float>(result->begin(), result->end()) : std::vector<float>{};
}

struct Variant {
  std::string name;
  TinyOptions options;
};
void PrintTo(const Variant& v, std::ostream* out) {
  *out << v.name;
}

class Decoders : public testing::TestWithParam<Variant> {};

constexpr double kExact = 1e-5;

TEST_P(Decoders, MatchTheInterpreter) {
  const TinyModel tiny = tiny_model(GetParam().options);
  for (const int threads : {1, 3}) {
    auto session = session_of(tiny, {.threads = threads, .exact = true});
    for (const int64_t n : {1, 2, 7, 33, 64}) {
      const auto tokens = random_tokens(n, 96, static_cast<uint64_t>(n));
      session->clear();
      const auto logits = logits_of(*session, {.tokens = tokens});
      const auto expected = interpret(tiny, tokens);
      EXPECT_LT(relative_error(logits, expected.logits), kExact) << n;
      EXPECT_LT(relative_error(session->hidden(), expected.hidden), kExact) << n;
    }
  }
}

TEST_P(Decoders, ContinueFromTheCache) {
  const TinyModel tiny = tiny_model(GetParam().options);
  const auto tokens = random_tokens(40, 96, 5);
  const auto expected = interpret(tiny, tokens);
  auto session = session_of(tiny, {.threads = 2, .exact = true});
  std::vector<float> logits;
  size_t at = 0;
  for (const size_t n : {1, 13, 1, 20, 5}) {
    const auto part = logits_of(*session, {.tokens = std::span(tokens).subspan(at, n)});
    logits.insert(logits.end(), part.begin(), part.end());
    at += n;
  }
  EXPECT_EQ(session->length(0), 40);
  EXPECT_LT(relative_error(logits, expected.logits), kExact);
}

TEST_P(Decoders, MixSequencesAndDropRows) {
  const TinyModel tiny = tiny_model(GetParam().options);
  auto session = session_of(tiny, {.threads = 2, .exact = true}, 3 * 32, 3);
  // Three sequences of different lengths, interleaved; every third row is wanted.
  const std::vector<int64_t> lengths{32, 5, 17};
  std::vector<std::vector<int32_t>> texts;
  for (const int64_t n : lengths) texts.push_back(random_tokens(n, 96, static_cast<uint64_t>(n)));
  std::vector<int32_t> tokens, sequences;
  std::vector<uint8_t> wanted;
  std::vector<double> expected;
  std::vector<std::vector<double>> all;
  for (const auto& t : texts) all.push_back(interpret(tiny, t).logits);
  for (size_t p = 0; p < 32; ++p) {
    for (size_t s = 0; s < 3; ++s) {
      if (p >= texts[s].size()) continue;
      wanted.push_back(tokens.size() % 3 == 1 ? 1 : 0);
      if (wanted.back() != 0)
        expected.insert(expected.end(), all[s].begin() + static_cast<int64_t>(p) * 96,
                        all[s].begin() + static_cast<int64_t>(p + 1) * 96);
      tokens.push_back(texts[s][p]);
      sequences.push_back(static_cast<int32_t>(s));
    }
  }
  const auto logits = logits_of(*session, {.tokens = tokens, .sequences = sequences, .wanted = wanted});
  EXPECT_LT(relative_error(logits, expected), kExact);
  for (int32_t s = 0; s < 3; ++s) EXPECT_EQ(session->length(s), lengths[static_cast<size_t>(s)]);
}

TEST_P(Decoders, FastIsCloseAndTheSameForAnyThreads) {
  for (const char* codec : {"F32", "F16", "BF16", "Q8_0"}) {
    TinyOptions options = GetParam().options;
    options.codec = codec;
    const TinyModel tiny = tiny_model(options);
    const auto tokens = random_tokens(50, 96, 3);
    const auto expected = interpret(tiny, tokens);
    std::vector<float> first;
    for (const int threads : {1, 2, 4}) {
      for (const CacheType cache : {CacheType::f16, CacheType::q8_0}) {
        auto session = session_of(tiny, {.threads = threads, .cache = cache});
        const auto logits = logits_of(*session, {.tokens = tokens});
        EXPECT_LT(relative_error(logits, expected.logits), 0.08) << codec;
        if (cache == CacheType::q8_0) continue;
        if (first.empty()) first = logits;
        EXPECT_EQ(logits, first) << codec << ", " << threads << " threads";
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Runtime, Decoders,
    testing::Values(Variant{"llama", {.pairing = RopePairing::interleaved}}, Variant{"untied", {.tied = false}},
                    Variant{"qk_norm", {.qk_norm = true}}, Variant{"window", {.window = 9}},
                    Variant{"gpt2", {.fused_qkv = true, .layer_norm = true, .gated = false, .rope = false}},
                    Variant{"fused_rope", {.fused_qkv = true, .kv_heads = 4}},
                    Variant{"one_layer", {.layers = 1, .heads = 2, .kv_heads = 1, .head_dim = 32}}),
    [](const auto& param) { return param.param.name; });

}  // namespace
}  // namespace lissom
