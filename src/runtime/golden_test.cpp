// Every architecture against transformers' own outputs, from the files that tests/golden/make_golden.py made.

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "lissom/model.h"
#include "lissom/runtime.h"
#include "model/arch.h"
#include "support/golden.h"

namespace lissom {
namespace {

using namespace testing_support;

class GoldenTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    golden_ = load_golden(GetParam());
    OpenOptions options;
    options.need_tokenizer = false;
    auto opened = open_checkpoint((kFolder / GetParam()).string(), options);
    ASSERT_TRUE(opened) << opened.error().message;
    checkpoint_ = *std::move(opened);
    const Config& c = checkpoint_.config;
    width_ = static_cast<size_t>(golden_.what == "hidden" ? c.width
                                 : !c.labels.empty()      ? static_cast<int64_t>(c.labels.size())
                                                          : c.vocab);
  }

  /// All sequences as one ragged batch, or one after the other with `chunk` tokens at a time.
  std::vector<float> run(const RuntimeOptions& options, bool batched, size_t chunk) {
    auto model = Model::load(checkpoint_, options);
    EXPECT_TRUE(model) << model.error().message;
    const auto n = static_cast<int64_t>(golden_.ids.size());
    auto session = *Session::create(*model, 64 * n, n);
    std::vector<float> out;
    std::vector<int32_t> tokens, sequences, types;
    const auto flush = [&] {
      Batch batch{.tokens = tokens, .sequences = sequences, .token_types = types};
      const auto result = session->run(batch);
      ASSERT_TRUE(result) << result.error().message;
      const auto rows = kept(golden_.what == "hidden" ? session->hidden() : *result, width_, golden_.step);
      out.insert(out.end(), rows.begin(), rows.end());
      tokens.clear();
      sequences.clear();
      types.clear();
    };
    for (size_t s = 0; s < golden_.ids.size(); ++s) {
      for (size_t i = 0; i < golden_.ids[s].size(); ++i) {
        tokens.push_back(golden_.ids[s][i]);
        sequences.push_back(static_cast<int32_t>(s));
        if (!golden_.types.empty()) types.push_back(golden_.types[s][i]);
        if (!batched && tokens.size() == chunk) flush();
      }
      if (!batched && !tokens.empty()) flush();
    }
    if (batched) flush();
    return out;
  }

  Golden golden_;
  Checkpoint checkpoint_;
  size_t width_ = 0;
};

TEST_P(GoldenTest, ExactMatchesTransformersAsABatch) {
  const auto out = run({.threads = 2, .exact = true}, true, 0);
  ASSERT_EQ(out.size(), golden_.expected.size());
  EXPECT_LE(relative_error(out, golden_.expected), 1e-4);
}

TEST_P(GoldenTest, ExactMatchesTransformersOneSequenceAtATime) {
  const auto out = run({.threads = 1, .exact = true}, false, 1000);
  ASSERT_EQ(out.size(), golden_.expected.size());
  EXPECT_LE(relative_error(out, golden_.expected), 1e-4);
}

TEST_P(GoldenTest, TheCacheChangesNothing) {
  if (!checkpoint_.config.causal) {
    EXPECT_FALSE(checkpoint_.config.causal);  // an encoder has no cache: there is nothing to step through
    return;
  }
  for (const size_t chunk : {size_t{1}, size_t{5}}) {
    const auto out = run({.threads = 1, .exact = true}, false, chunk);
    ASSERT_EQ(out.size(), golden_.expected.size());
    EXPECT_LE(relative_error(out, golden_.expected), 1e-4) << "chunks of " << chunk;
  }
}

TEST_P(GoldenTest, TheFastPathStaysClose) {
  // Near a tie rounding may choose another expert: of a mixture the median row counts.
  const size_t row = (width_ + golden_.step - 1) / golden_.step;
  const auto error = [&](std::span<const float> out) {
    const std::span<const float> expected = golden_.expected;
    if (checkpoint_.config.experts.count == 0) return relative_error(out, expected);
    std::vector<double> rows;
    for (size_t at = 0; at < expected.size(); at += row)
      rows.push_back(relative_error(out.subspan(at, row), expected.subspan(at, row)));
    std::sort(rows.begin(), rows.end());
    return rows[rows.size() / 2];
  };
  const auto f16 = run({.threads = 2}, true, 0);
  ASSERT_EQ(f16.size(), golden_.expected.size());
  EXPECT_LE(error(f16), 1e-3);
  const auto q8 = run({.threads = 2, .cache = CacheType::q8_0}, true, 0);
  ASSERT_EQ(q8.size(), golden_.expected.size());
  EXPECT_LE(error(q8), 3e-2);
}

INSTANTIATE_TEST_SUITE_P(Architectures, GoldenTest, testing::ValuesIn(golden_names()),
                         [](const auto& test) { return test.param; });

TEST(GoldenFiles, EveryArchitectureIsThere) {
  std::set<std::string> covered;
  for (const std::string& name : golden_names())
    covered.insert((*read_json(kFolder / name / "config.json"))["architectures"][0].get<std::string>());
  for (const Architecture* arch : architectures())
    for (const std::string_view name : arch->hf_architectures)
      EXPECT_TRUE(covered.contains(std::string(name))) << name;
}

}  // namespace
}  // namespace lissom
