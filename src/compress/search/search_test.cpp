#include "compress/search/search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "compress/search/candidates.h"
#include "compress/search/probe.h"
#include "eval/diagnose/testing.h"
#include "lissom/gguf.h"
#include "support/temp_folder.h"
#include "support/toy_tokenizer.h"

namespace lissom::search {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// Four blocks; K-quants fit ffn_down alone, as in SmolLM2.
Checkpoint small(int64_t layers = 4) {
  Config config = testing::small_llama(layers);
  config.vocab = 260;
  config.ff = 256;
  Checkpoint checkpoint = testing::small_model(config);
  auto metadata = std::make_shared<GgufMetadata>();
  metadata->set("general.name", std::string("small"));
  checkpoint.metadata = metadata;
  return checkpoint;
}

Importance statistics(const Checkpoint& checkpoint) {
  Importance importance;
  testing::Random random(4);
  for (const TensorInfo& info : checkpoint.tensors->tensors()) {
    if (info.shape.rank() != 2) continue;
    Importance::Entry entry;
    entry.tokens = 100;
    for (int64_t i = 0; i < info.shape.cols(); ++i) entry.sum_square.push_back(100 + 90 * random.uniform());
    importance.entries[info.name] = std::move(entry);
  }
  return importance;
}

class SearchTest : public ::testing::Test {
 protected:
  SearchTest() : importance_(statistics(checkpoint_)) {
    testing::Random random(8);
    for (int i = 0; i < 700; ++i) text_ += static_cast<char>(' ' + random.next() % 90);
    options_.effort = {2, 2, 4, 1, 2, 5};
    options_.context = 32;
    options_.threads = 2;
    options_.journal = folder_ / "out.gguf.search";
    options_.key = "test";
  }
  Result<Found> find(const Limits& limits, const Progress& progress = {}) const {
    return find_scheme(checkpoint_, tokenizer_, text_, importance_, limits, options_, progress);
  }
  [[nodiscard]] uint64_t compressed(const Scheme& scheme, const std::string& name) const {
    CompressOptions options;
    options.scheme = scheme;
    options.importance = importance_;
    const auto result = compress_to_gguf(checkpoint_, folder_ / name, options, {});
    return result ? result->file_bytes : 0;
  }

  testing::TempFolder folder_;
  Checkpoint checkpoint_ = small();
  Importance importance_;
  testing::ToyTokenizer tokenizer_{false};
  std::string text_;
  Options options_;
};

TEST_F(SearchTest, FillsASizeBetterThanASchemeDoes) {
  const uint64_t limit = compressed(*builtin_scheme("Q4_K_M"), "scheme.gguf");
  ASSERT_GT(limit, 0U);
  const auto found = find({.file_bytes = limit});
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_LE(found->file_bytes, limit);
  EXPECT_GT(found->file_bytes, limit * 97 / 100);
  EXPECT_EQ(compressed(found->scheme, "found.gguf"), found->file_bytes);
  EXPECT_GT(found->kld.value, 0);
  EXPECT_GE(found->kld_bound, found->kld.value);
  bool rival = false;
  for (const Point& p : found->frontier) {
    if (p.verified && p.file_bytes <= limit) {
      EXPECT_GE(p.verified->value, found->kld.value) << p.name;
    }
    rival = rival || (p.verified && p.name != "search");
  }
  EXPECT_TRUE(rival);
  // What the model expects falls with the size.
  const auto predicted = [&](size_t i) { return found->frontier[i].predicted; };
  EXPECT_GT(predicted(0), 2 * predicted(found->frontier.size() - 1));
}

TEST_F(SearchTest, TheSchemeFileGivesTheSameBytes) {
  const auto found = find({.bits_per_weight = 5});
  ASSERT_TRUE(found) << found.error().message;
  const auto read = parse_scheme(found->yaml, "found.yaml");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_GT(compressed(found->scheme, "a.gguf"), 0U);
  EXPECT_GT(compressed(*read, "b.gguf"), 0U);
  EXPECT_EQ(*read_file(folder_ / "a.gguf", 1U << 24), *read_file(folder_ / "b.gguf", 1U << 24));
  const auto plan = make_plan(checkpoint_, *read, true);
  ASSERT_TRUE(plan);
  EXPECT_LE(plan->bits_per_weight, 5);
  EXPECT_EQ(read->description, "Chosen by measurement for at most 5 bits per weight.");
}

TEST_F(SearchTest, FindsTheSmallestThatMeetsADivergence) {
  const auto loose = find({.max_kld = 0.02});
  ASSERT_TRUE(loose) << loose.error().message;
  EXPECT_LE(loose->kld_bound, 0.02);
  EXPECT_EQ(loose->windows, 4);
  const auto tight = find({.max_kld = 0.002});
  ASSERT_TRUE(tight) << tight.error().message;
  EXPECT_LE(tight->kld_bound, 0.002);
  EXPECT_GT(tight->file_bytes, loose->file_bytes);
  EXPECT_GT(tight->remembered, 5);  // the second search began with what the first had measured
  // So little that only the source's own weights will do.
  const auto exact = find({.max_kld = 1e-12});
  ASSERT_TRUE(exact) << exact.error().message;
  EXPECT_GT(exact->file_bytes, tight->file_bytes);
}

TEST_F(SearchTest, AStoppedSearchGoesOnToTheSamePlan) {
  const Limits limits{.bits_per_weight = 4.8};
  const auto whole = find(limits);
  ASSERT_TRUE(whole) << whole.error().message;
  const auto repeats = whole->remembered;  // codecs that are compared with the same references
  std::filesystem::remove(options_.journal);
  for (const int64_t stop_after : {1, 9, 20}) {
    int64_t asked = 0;
    Progress progress;
    progress.cancelled = [&] { return ++asked > stop_after; };
    const auto stopped = find(limits, progress);
    ASSERT_FALSE(stopped);
    EXPECT_EQ(stopped.error().kind, ErrorKind::cancelled);
  }
  const auto resumed = find(limits);
  ASSERT_TRUE(resumed);
  EXPECT_GE(resumed->remembered, repeats + 10);
  EXPECT_EQ(resumed->yaml, whole->yaml);
  EXPECT_EQ(resumed->kld.value, whole->kld.value);
  const auto again = find(limits);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->remembered, again->measurements);
  EXPECT_EQ(again->yaml, whole->yaml);
}

TEST_F(SearchTest, SaysWhatIsImpossible) {
  const auto message = [&](const Limits& limits) {
    const auto found = find(limits);
    return found ? "found" : found.error().message;
  };
  EXPECT_THAT(message({.file_bytes = 1000}), HasSubstr("smallest possible here is a file of "));
  EXPECT_THAT(check_size(checkpoint_, {.bits_per_weight = 1}, true).error().message,
              HasSubstr("smallest possible here is a file of "));
  EXPECT_TRUE(check_size(checkpoint_, {.bits_per_weight = 4.8}, true));
  const auto both = find({.bits_per_weight = 4.8, .max_kld = 1e-6});
  ASSERT_FALSE(both);
  EXPECT_EQ(both.error().kind, ErrorKind::limit);
  EXPECT_THAT(both.error().message, HasSubstr("the best reached is "));
  EXPECT_TRUE(find({.bits_per_weight = 4.8, .max_kld = 10}));
  EXPECT_THAT(message({}), HasSubstr("needs a limit"));
  EXPECT_THAT(message({.max_kld = 0.0}), HasSubstr("more than 0"));
  EXPECT_THAT(message({.max_kld = std::nan("")}), HasSubstr("more than 0"));
  text_ = "short";
  EXPECT_THAT(message({.bits_per_weight = 5}), HasSubstr("one window needs 32"));
}

TEST_F(SearchTest, OffersWhatFits) {
  ThreadPool pool(2);
  const Means means = *means_of(checkpoint_, importance_);
  const auto tensors = find_candidates(checkpoint_, means, pool);
  ASSERT_TRUE(tensors);
  EXPECT_EQ(tensors->size(), 1 + 4 * 7);
  for (const SearchTensor& t : *tensors) {
    const bool wide = t.name.find("ffn_down") != std::string::npos;
    EXPECT_EQ(t.find("Q3_K") != nullptr, wide) << t.name;
    EXPECT_NE(t.find("IQ4_NL"), nullptr);
    EXPECT_EQ(t.candidates.back().codec, "F32");
    EXPECT_EQ(t.candidates.back().error, 0);
    double error = 2;
    for (const Candidate& c : t.candidates) {
      if (c.dominated) continue;
      EXPECT_LT(c.error, error) << t.name << " " << c.codec;
      error = c.error;
    }
    EXPECT_FALSE(t.candidates[t.reference].dominated);
  }
  // Without statistics the smallest are not there.
  const auto blind = find_candidates(checkpoint_, {}, pool);
  ASSERT_TRUE(blind);
  const auto down = std::ranges::find(*blind, "blk.1.ffn_down.weight", &SearchTensor::name);
  EXPECT_EQ(down->find("IQ2_XXS"), nullptr);
  EXPECT_NE(down->find("Q4_K"), nullptr);
}

TEST_F(SearchTest, GroupsKindsOfNeighbouringBlocks) {
  ThreadPool pool(1);
  const Checkpoint checkpoint = small(5);
  const auto tensors = find_candidates(checkpoint, {}, pool);
  ASSERT_TRUE(tensors);
  const std::vector<Group> groups = groups_of(*tensors, 5, 2);
  ASSERT_EQ(groups.size(), 1 + 2 * 7);
  EXPECT_EQ(groups[0].name, "token_embd.weight");
  std::vector<std::string> names;
  size_t members = 0;
  for (const Group& g : groups) {
    members += g.tensors.size();
    if (g.name.starts_with("attn_q")) names.push_back(g.name);
  }
  EXPECT_EQ(members, tensors->size());
  EXPECT_THAT(names, ElementsAre("attn_q.weight, blocks 0-2", "attn_q.weight, blocks 3-4"));
  EXPECT_EQ(groups_of(*tensors, 5, 99).size(), tensors->size());
}

TEST(ProbeWindows, AreApart) {
  ProbeTexts texts;
  texts.windows.count = 20;
  choose_windows(2, 3, texts);
  EXPECT_EQ(texts.measure.size(), 2U);
  EXPECT_EQ(texts.verify.size(), 3U);
  for (const int64_t w : texts.measure) EXPECT_EQ(std::ranges::count(texts.verify, w), 0);
  EXPECT_GE(texts.verify.back(), 12);
  texts.windows.count = 3;
  choose_windows(4, 16, texts);
  EXPECT_EQ(texts.measure.size() + texts.verify.size(), 3U);
  EXPECT_GE(texts.measure.size(), 1U);
  EXPECT_GE(texts.verify.size(), 1U);
  texts.windows.count = 1;
  choose_windows(2, 4, texts);
  EXPECT_THAT(texts.measure, ElementsAre(0));
  EXPECT_THAT(texts.verify, ElementsAre(0));
}

/// A variant gives what the same tensor in a file gives, from wherever the run starts.
TEST(Probe, MeasuresWhatTheModelSays) {
  const Checkpoint checkpoint = small();
  ThreadPool pool(2);
  ProbeTexts texts;
  texts.windows = testing::random_windows(checkpoint.config, 6, 32);
  choose_windows(3, 3, texts);
  auto probe = Probe::make(checkpoint, texts, 2, pool, {});
  ASSERT_TRUE(probe) << probe.error().message;
  const auto variant = [&](const char* name, const char* codec, bool decoded) {
    return encode_variant(checkpoint, static_cast<size_t>(checkpoint.tensors->find(name)), codec, decoded, {},
                          pool)
        .value();
  };
  const auto kld = [&](const Variants& variants, Probe::Text text = Probe::Text::measure) {
    return (*probe)->divergence(text, variants).value().value;
  };
  EXPECT_EQ(kld({}), 0);
  const Variants late = {{"blk.3.ffn_down.weight", variant("blk.3.ffn_down.weight", "Q2_K", true)}};
  Variants both = late;
  both["blk.1.attn_v.weight"] = variant("blk.1.attn_v.weight", "Q4_0", true);
  const double one = kld(late), two = kld(both);
  EXPECT_GT(one, 0);
  EXPECT_NE(one, two);
  // From the states of another neighbourhood, the same.
  ASSERT_TRUE((*probe)->stay_near(both));
  EXPECT_EQ(kld(both), two);
  EXPECT_EQ(kld(late), one);
  EXPECT_EQ(kld({}), 0);
  ASSERT_TRUE((*probe)->stay_near({}));
  EXPECT_EQ(kld(both), two);
  EXPECT_GT(kld(both, Probe::Text::verify), 0);
  // Encoded, the kernels round activations too.
  const Variants plain = {{"blk.0.attn_q.weight", variant("blk.0.attn_q.weight", "Q8_0", false)}};
  const Variants exact = {{"blk.0.attn_q.weight", variant("blk.0.attn_q.weight", "Q8_0", true)}};
  EXPECT_NE(kld(plain), kld(exact));
  // The tied embedding is looked up and multiplied.
  EXPECT_GT(kld({{"token_embd.weight", variant("token_embd.weight", "Q4_0", true)}}), 0);
}

}  // namespace
}  // namespace lissom::search
