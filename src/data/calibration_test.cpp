#include "data/calibration.h"

#include <gtest/gtest.h>

#include <set>

#include "lissom/gguf.h"
#include "support/temp_folder.h"
#include "support/tiny_llama.h"

namespace lissom {
namespace {

struct Tiny {
  Checkpoint checkpoint;
  std::shared_ptr<Model> model;
  std::unique_ptr<Tokenizer> tokenizer;
};

class Calibration : public ::testing::Test {
 protected:
  Tiny load(int threads) {
    Tiny tiny{testing::tiny_llama(folder_ / "tiny.gguf"), {}, {}};
    RuntimeOptions options;
    options.threads = threads;
    tiny.model = Model::load(tiny.checkpoint, options).value();
    tiny.tokenizer = Tokenizer::from_gguf(*tiny.checkpoint.metadata, "tiny").value();
    return tiny;
  }
  testing::TempFolder folder_;
};

TEST_F(Calibration, GivesAsManyTokensAsAskedForAndNoControlTokens) {
  const Tiny tiny = load(1);
  for (const int64_t wanted : {1, 7, 300, 1000}) {
    const auto texts = sample_calibration_tokens(tiny.model, *tiny.tokenizer,
                                                 {.tokens = wanted, .seed = 1, .length = 40, .threads = 1}, {})
                           .value();
    int64_t have = 0;
    for (const auto& text : texts) {
      EXPECT_LE(text.size(), 40U);
      have += static_cast<int64_t>(text.size());
      for (size_t i = 1; i < text.size(); ++i) EXPECT_FALSE(tiny.tokenizer->is_special(text[i]));
    }
    EXPECT_EQ(have, wanted);
  }
}

TEST_F(Calibration, SameSeedSameTextForAnyNumberOfThreads) {
  const Tiny one = load(1), three = load(3);
  const auto a = sample_calibration_text(one.model, *one.tokenizer, {600, 42}, {}).value();
  EXPECT_EQ(a, sample_calibration_text(one.model, *one.tokenizer, {600, 42}, {}).value());
  EXPECT_EQ(a, sample_calibration_text(three.model, *three.tokenizer, {600, 42, 256, 3}, {}).value());
  EXPECT_NE(a, sample_calibration_text(one.model, *one.tokenizer, {600, 43}, {}).value());
  EXPECT_EQ(a.find("<|endoftext|>"), std::string::npos);
}

TEST_F(Calibration, SequencesDiffer) {
  const Tiny tiny = load(1);
  const auto texts = sample_calibration_tokens(tiny.model, *tiny.tokenizer, {640, 5, 32}, {}).value();
  EXPECT_EQ(std::set(texts.begin(), texts.end()).size(), texts.size());
}

TEST_F(Calibration, RefusesWhatCannotBe) {
  const Tiny tiny = load(1);
  EXPECT_FALSE(sample_calibration_tokens(tiny.model, *tiny.tokenizer, {0, 1}, {}));
  EXPECT_FALSE(sample_calibration_tokens(tiny.model, *tiny.tokenizer, {-5, 1}, {}));
  Progress stopped;
  stopped.cancelled = [] { return true; };
  const auto result = sample_calibration_tokens(tiny.model, *tiny.tokenizer, {100, 1}, stopped);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, ErrorKind::cancelled);
}

}  // namespace
}  // namespace lissom
