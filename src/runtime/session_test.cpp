#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "lissom/codec.h"
#include "runtime/batch.h"
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
  texts.reserve(lengths.size());
  for (const int64_t n : lengths) texts.push_back(random_tokens(n, 96, static_cast<uint64_t>(n)));
  std::vector<int32_t> tokens, sequences;
  std::vector<uint8_t> wanted;
  std::vector<double> expected;
  std::vector<std::vector<double>> all;
  all.reserve(texts.size());
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

/// The largest error of a row; with a mixture of experts that of the median row: near a tie rounding chooses
/// another expert.
double fast_error(std::span<const float> a, std::span<const double> b, bool mixture) {
  if (!mixture || a.size() != b.size()) return relative_error(a, b);
  std::vector<double> rows;
  for (size_t at = 0; at < b.size(); at += 96)
    rows.push_back(relative_error(a.subspan(at, 96), b.subspan(at, 96)));
  std::nth_element(rows.begin(), rows.begin() + static_cast<int64_t>(rows.size() / 2), rows.end());
  return rows[rows.size() / 2];
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
        EXPECT_LT(fast_error(logits, expected.logits, options.experts.count > 0), 0.08) << codec;
        if (cache == CacheType::q8_0) continue;
        if (first.empty()) first = logits;
        EXPECT_EQ(logits, first) << codec << ", " << threads << " threads";
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Runtime, Decoders,
    testing::Values(
        Variant{"llama", {.pairing = RopePairing::interleaved}}, Variant{"untied", {.tied = false}},
        Variant{"qk_norm", {.qk_norm = true}}, Variant{"window", {.window = 9}},
        Variant{"gpt2", {.fused_qkv = true, .layer_norm = true, .gated = false, .rope = false}},
        Variant{"fused_rope", {.fused_qkv = true, .kv_heads = 4}},
        Variant{"caps", {.softcap = 2.0F, .logit_softcap = 3.0F, .embedding_scale = 5.0F}},
        Variant{"local_rope", {.local_rope = true}},
        Variant{"experts", {.experts = {.count = 4, .used = 2, .ff = 64}}},
        Variant{
            "experts_chosen",
            {.experts =
                 {.count = 5, .used = 3, .ff = 32, .score = Experts::Score::softmax_chosen, .scale = 1.5F}}},
        Variant{"experts_grouped",
                {.experts = {.count = 8,
                             .used = 2,
                             .ff = 32,
                             .score = Experts::Score::sigmoid,
                             .normalize = true,
                             .bias = true,
                             .groups = 4,
                             .groups_used = 2,
                             .group_by_two = true}}},
        Variant{"experts_weighed_before",
                {.experts =
                     {.count = 4, .used = 1, .ff = 32, .score = Experts::Score::sigmoid, .weigh_input = true}}},
        Variant{"one_layer", {.layers = 1, .heads = 2, .kv_heads = 1, .head_dim = 32}}),
    [](const auto& param) { return param.param.name; });

// ---------------------------------------------------------------- encoders

class Encoders : public testing::TestWithParam<Variant> {};

TEST_P(Encoders, MatchTheInterpreterOnRaggedBatches) {
  const TinyModel tiny = tiny_model(GetParam().options);
  const Graph& graph = tiny.checkpoint.graph;
  auto session = session_of(tiny, {.threads = 2, .exact = true}, 4 * 40, 4);
  std::vector<int32_t> tokens, sequences, types;
  std::vector<double> logits, hidden, pooled;
  for (const int32_t s : {2, 0, 3}) {
    const auto text = random_tokens(s * 12 + 1, 96, static_cast<uint64_t>(s));
    std::vector<int32_t> text_types(text.size());
    for (size_t i = text.size() / 2; i < text.size(); ++i) text_types[i] = 1;
    const auto expected = interpret(tiny, text, text_types);
    tokens.insert(tokens.end(), text.begin(), text.end());
    types.insert(types.end(), text_types.begin(), text_types.end());
    sequences.insert(sequences.end(), text.size(), s);
    logits.insert(logits.end(), expected.logits.begin(), expected.logits.end());
    hidden.insert(hidden.end(), expected.hidden.begin(), expected.hidden.end());
    pooled.insert(pooled.end(), expected.pooled.begin(), expected.pooled.end());
  }
  for (int repeat = 0; repeat < 2; ++repeat) {
    Batch batch;
    batch.tokens = tokens;
    batch.sequences = sequences;
    batch.token_types = types;
    const auto out = logits_of(*session, batch);
    EXPECT_LT(relative_error(session->hidden(), hidden), kExact);
    EXPECT_LT(relative_error(out, graph.logits >= 0 ? logits : hidden), kExact);
    if (graph.pooled >= 0) {
      EXPECT_LT(relative_error(session->pooled(), pooled), kExact);
    }
  }
}

/// More rows than go together: the results are those of each sequence alone, in the batch's order.
TEST_P(Encoders, ReadLargeBatchesInPieces) {
  const TinyModel tiny = tiny_model(GetParam().options);
  constexpr int32_t kSequences = 41;
  auto session = session_of(tiny, {.threads = 2}, kSequences * 40, kSequences);
  std::vector<int32_t> tokens, sequences, types;
  std::vector<double> logits, hidden, pooled;
  const auto append = [](std::span<const float> more, std::vector<double>& all) {
    all.insert(all.end(), more.begin(), more.end());
  };
  for (int32_t s = kSequences - 1; s >= 0; --s) {
    const auto text = random_tokens(1 + s * 7 % 40, 96, static_cast<uint64_t>(s));
    const std::vector<int32_t> text_types(text.size(), s % 2), of(text.size(), s);
    Batch alone;
    alone.tokens = text;
    alone.sequences = of;
    alone.token_types = text_types;
    append(logits_of(*session, alone), logits);
    append(session->hidden(), hidden);
    append(session->pooled(), pooled);
    tokens.insert(tokens.end(), text.begin(), text.end());
    types.insert(types.end(), text_types.begin(), text_types.end());
    sequences.insert(sequences.end(), of.begin(), of.end());
  }
  Batch batch;
  batch.tokens = tokens;
  batch.sequences = sequences;
  batch.token_types = types;
  const std::vector<Batch> pieces = runtime::pieces_of(batch);
  ASSERT_GT(pieces.size(), 1U);
  for (int repeat = 0; repeat < 2; ++repeat) {
    const auto out = logits_of(*session, batch);
    ASSERT_EQ(out.size(), logits.size());
    ASSERT_EQ(session->hidden().size(), hidden.size());
    ASSERT_EQ(session->pooled().size(), pooled.size());
    EXPECT_LT(relative_error(out, logits), 1e-5);
    EXPECT_LT(relative_error(session->hidden(), hidden), 1e-5);
    if (!pooled.empty()) {
      EXPECT_LT(relative_error(session->pooled(), pooled), 1e-5);
    }
  }
  tokens.back() = 96;
  batch.tokens = tokens;
  EXPECT_THAT(session->run(batch).error().message,
              testing::HasSubstr("of row " + std::to_string(tokens.size() - 1)));
}

TEST(Pieces, AreWholeSequences) {
  const auto sizes = [](const std::vector<int64_t>& lengths) {
    std::vector<int32_t> tokens, sequences;
    for (size_t s = 0; s < lengths.size(); ++s)
      sequences.insert(sequences.end(), static_cast<size_t>(lengths[s]), static_cast<int32_t>(s));
    for (size_t i = 0; i < sequences.size(); ++i) tokens.push_back(static_cast<int32_t>(i));
    Batch batch;
    batch.tokens = tokens;
    batch.sequences = sequences;
    std::vector<size_t> found;
    size_t next = 0;
    for (const Batch& piece : runtime::pieces_of(batch)) {
      EXPECT_EQ(piece.tokens.front(), static_cast<int32_t>(next));
      EXPECT_EQ(piece.sequences.size(), piece.tokens.size());
      EXPECT_TRUE(piece.positions.empty());
      found.push_back(piece.tokens.size());
      next += piece.tokens.size();
    }
    EXPECT_EQ(next, tokens.size());
    return found;
  };
  using Sizes = std::vector<size_t>;
  EXPECT_EQ(sizes({7}), Sizes({7}));
  EXPECT_EQ(sizes({512, 1}), Sizes({512, 1}));
  EXPECT_EQ(sizes({256, 256, 256}), Sizes({512, 256}));
  EXPECT_EQ(sizes({2000, 3, 600, 600}), Sizes({2000, 3, 600, 600}));
  EXPECT_EQ(sizes({1, 2000}), Sizes({1, 2000}));
}

INSTANTIATE_TEST_SUITE_P(
    Runtime, Encoders,
    testing::Values(Variant{"hidden", {.causal = false, .layer_norm = true, .gated = false, .rope = false}},
                    Variant{"mean", {.causal = false, .token_types = true, .pooling = Pooling::mean}},
                    Variant{"last", {.causal = false, .pooling = Pooling::last}},
                    Variant{"relative", {.causal = false, .kv_heads = 4, .rope = false, .position_buckets = 8}},
                    Variant{"classifier",
                            {.causal = false,
                             .layer_norm = true,
                             .gated = false,
                             .token_types = true,
                             .classifier = true,
                             .pooling = Pooling::cls,
                             .rope = false}}),
    [](const auto& param) { return param.param.name; });

// ---------------------------------------------------------------- sessions

Batch batch_of(std::span<const int32_t> tokens, std::span<const int32_t> positions = {},
               std::span<const int32_t> sequences = {}) {
  Batch b;
  b.tokens = tokens;
  b.positions = positions;
  b.sequences = sequences;
  return b;
}

TEST(Session, StepsBackAndForgets) {
  const TinyModel tiny = tiny_model({});
  auto session = session_of(tiny, {.threads = 1, .exact = true});
  const auto tokens = random_tokens(20, 96, 9);
  const auto whole = logits_of(*session, batch_of(tokens));
  // Another continuation from position 8, then the first one again.
  std::vector<int32_t> positions;
  for (int32_t p = 8; p < 20; ++p) positions.push_back(p);
  (void)logits_of(*session, batch_of(random_tokens(12, 96, 10), positions));
  const auto again = logits_of(*session, batch_of(std::span(tokens).subspan(8), positions));
  EXPECT_EQ(session->length(0), 20);
  EXPECT_EQ(again, std::vector<float>(whole.end() - static_cast<int64_t>(again.size()), whole.end()));
  session->clear(0);
  EXPECT_EQ(session->length(0), 0);
  EXPECT_EQ(logits_of(*session, batch_of(tokens)), whole);
}

TEST(Session, RunsWithoutWantedRows) {
  const TinyModel tiny = tiny_model({});
  auto session = session_of(tiny, {.threads = 1, .exact = true});
  const auto tokens = random_tokens(10, 96, 2);
  const std::vector<uint8_t> none(9, 0);
  Batch first = batch_of(std::span(tokens).first(9));
  first.wanted = none;
  EXPECT_TRUE(logits_of(*session, first).empty());
  const auto last = logits_of(*session, batch_of(std::span(tokens).last(1)));
  const auto expected = interpret(tiny, tokens).logits;
  EXPECT_LT(relative_error(last, std::span(expected).last(96)), 1e-5);
}

std::string error_of(Session& session, const Batch& batch) {
  const auto result = session.run(batch);
  EXPECT_FALSE(result);
  return result ? "" : result.error().message;
}

TEST_P(Decoders, ReadAPromptInParts) {
  const TinyModel tiny = tiny_model(GetParam().options);
  const auto tokens = random_tokens(40, 96, 6);
  const auto expected = interpret(tiny, tokens);
  const std::span<const double> last = std::span(expected.logits).last(96);
  auto session = session_of(tiny, {.threads = 2, .exact = true});
  for (const int64_t at_once : {1, 7, 20, 512}) {
    session->clear();
    const auto logits = read_prompt(*session, tokens, at_once);
    ASSERT_TRUE(logits) << logits.error().message;
    EXPECT_EQ(logits->size(), 96U);
    EXPECT_EQ(session->length(0), 40);
    EXPECT_LT(relative_error(*logits, last), kExact) << at_once;
  }
  EXPECT_FALSE(read_prompt(*session, {}));
}

TEST(Session, RefusesBadBatches) {
  const TinyModel tiny = tiny_model({});
  auto session = session_of(tiny, {.threads = 1}, 2 * 8, 2);
  using V = std::vector<int32_t>;
  EXPECT_THAT(error_of(*session, {}), testing::HasSubstr("no tokens"));
  EXPECT_THAT(error_of(*session, batch_of(V{1, 96})), testing::HasSubstr("token 96 of row 1"));
  EXPECT_THAT(error_of(*session, batch_of(V{-1})), testing::HasSubstr("token -1"));
  EXPECT_THAT(error_of(*session, batch_of(V{1}, {}, V{2})), testing::HasSubstr("sequence 2"));
  EXPECT_THAT(error_of(*session, batch_of(V{1}, {}, V{-1})), testing::HasSubstr("sequence -1"));
  EXPECT_THAT(error_of(*session, batch_of(V{1, 2}, V{0})), testing::HasSubstr("1 positions for 2 tokens"));
  EXPECT_THAT(error_of(*session, batch_of(V{1, 2}, V{0, 2})), testing::HasSubstr("continues at 1"));
  EXPECT_THAT(error_of(*session, batch_of(V{1}, V{3})), testing::HasSubstr("continues at 0"));
  EXPECT_THAT(error_of(*session, batch_of(V(9, 1))), testing::HasSubstr("context is full"));
  EXPECT_EQ(session->length(0), 0);
  EXPECT_EQ(logits_of(*session, batch_of(V(8, 1))).size(), 8U * 96);
  EXPECT_THAT(error_of(*session, batch_of(V{1})), testing::HasSubstr("context is full"));
  EXPECT_EQ(session->length(0), 8);
}

TEST(Session, RefusesWhatEncodersCannotDo) {
  const TinyModel tiny = tiny_model({.causal = false, .token_types = true, .rope = false});
  auto session = session_of(tiny, {.threads = 1}, 200, 2);
  using V = std::vector<int32_t>;
  EXPECT_THAT(error_of(*session, batch_of(V{1, 2, 3}, {}, V{0, 1, 0})), testing::HasSubstr("not together"));
  EXPECT_THAT(error_of(*session, batch_of(V{1}, V{64})), testing::HasSubstr("positions 0 … 63"));
  EXPECT_THAT(error_of(*session, batch_of(V(65, 1))), testing::HasSubstr("positions 0 … 63"));
  const V one{1}, type{2};
  Batch batch = batch_of(one);
  batch.token_types = type;
  EXPECT_THAT(error_of(*session, batch), testing::HasSubstr("token type 2"));
}

TEST(Session, RefusesBadSizes) {
  const TinyModel tiny = tiny_model({});
  const auto model = Model::load(tiny.checkpoint, {.threads = 1});
  ASSERT_TRUE(model);
  EXPECT_FALSE(Session::create(*model, 0));
  EXPECT_FALSE(Session::create(*model, 3, 4));
  EXPECT_FALSE(Session::create(*model, 10, 0));
  EXPECT_FALSE(Session::create(*model, int64_t{1} << 40));
  EXPECT_FALSE(Session::create(nullptr, 10));
}

// ---------------------------------------------------------------- models

TEST(Model, NamesTheTensorThatIsWrong) {
  const auto message = [](const TinyModel& tiny, RuntimeOptions options = {}) {
    const auto model = Model::load(tiny.checkpoint, options);
    EXPECT_FALSE(model);
    return model ? "" : model.error().message;
  };
  TinyModel tiny = tiny_model({});
  tiny.source->remove("blk.1.ffn_up.weight");
  EXPECT_THAT(message(tiny), testing::HasSubstr("'blk.1.ffn_up.weight' is missing"));
  tiny.source->add("blk.1.ffn_up.weight", "F32", {64, 96}, std::vector<float>(64 * 96));
  EXPECT_THAT(message(tiny), testing::HasSubstr("shape [64, 96], expected [96, 64]"));
  tiny.source->remove("blk.1.ffn_up.weight");
  tiny.source->add("blk.1.ffn_up.weight", "F32", {96, 64}, std::vector<float>(64 * 96));
  tiny.source->infos_.back().type = "I32";
  EXPECT_THAT(message(tiny), testing::HasSubstr("type 'I32'"));
  tiny.source->infos_.back().type = "F16";
  EXPECT_THAT(message(tiny), testing::HasSubstr("bytes are not"));
  EXPECT_THAT(message(tiny_model({}), {.threads = -1}), testing::HasSubstr("threads"));
  tiny = tiny_model({});
  tiny.checkpoint.config.rope.dim = 7;
  EXPECT_THAT(message(tiny), testing::HasSubstr("RoPE"));
}

TEST(Model, HoldsTiedTablesOnce) {
  const auto bytes = [](bool tied) {
    const TinyModel tiny = tiny_model({.codec = "Q8_0", .tied = tied, .vocab = 960});
    const auto model = Model::load(tiny.checkpoint, {.threads = 1});
    return model ? (*model)->weight_bytes() : 0;
  };
  const uint64_t table = 960 * 64 / 32 * 34;
  EXPECT_GE(bytes(false) - bytes(true), table);
  EXPECT_GT(bytes(true), table);
}

TEST(Model, RoundsF32ToBf16WhereAsked) {
  const auto tokens = random_tokens(9, 96, 5);
  const auto logits = [&](const std::string& codec, bool bf16) {
    const auto model =
        Model::load(tiny_model({.codec = codec}).checkpoint, {.threads = 1, .bf16 = bf16}).value();
    const auto session = Session::create(model, 16).value();
    const auto out = session->run({.tokens = tokens}).value();
    return std::pair(std::vector<float>(out.begin(), out.end()), model->weight_bytes());
  };
  EXPECT_EQ(logits("F32", true), logits("BF16", false));
  EXPECT_NE(logits("F32", false), logits("BF16", false));
  EXPECT_EQ(logits("F16", true), logits("F16", false));
}

TEST(Model, RunsEveryCodec) {
  const auto tokens = random_tokens(12, 96, 8);
  for (const Codec* codec : codecs()) {
    if (codec->column_multiple() > 32) continue;  // the tiny model's rows are 64 wide
    const TinyModel tiny = tiny_model({.codec = std::string(codec->name())});
    auto session = session_of(tiny, {.threads = 1, .exact = true});
    EXPECT_LT(relative_error(logits_of(*session, batch_of(tokens)), interpret(tiny, tokens).logits), kExact)
        << codec->name();
  }
}

}  // namespace
}  // namespace lissom
