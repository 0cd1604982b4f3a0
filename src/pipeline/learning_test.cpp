#include "pipeline/learning.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <utility>

#include "lissom/model.h"

namespace lissom {
namespace {

/// The tiny llama, and no engine wherever the tests run.
struct LearningTest : ::testing::Test {
  LearningTest() {
    ::setenv("LISSOM_ENGINE", "/nowhere/liblissom_engine.so", 1);
    progress.log = [this](LogLevel, std::string_view text) { said += text; };
  }
  ~LearningTest() override { ::unsetenv("LISSOM_ENGINE"); }
  [[nodiscard]] static Checkpoint open(const std::string& name) {
    return *open_checkpoint(std::string(LISSOM_SOURCE_DIR) + "/tests/golden/" + name,
                            {.need_tokenizer = false});
  }
  /// Why nothing is learned: what is said, or the error where it was asked for by name.
  std::string refusal(const CompressJob& job, const std::string& model = "llama", bool streamed = false) {
    const Checkpoint checkpoint = open(model);
    said.clear();
    CompressJob silent = job;
    silent.effort.reset();
    const auto quiet = plan_effort(checkpoint, silent, streamed, progress);
    EXPECT_TRUE(quiet && !quiet->learning);
    CompressJob asked = job;
    asked.effort = Effort::high;
    const auto loud = plan_effort(checkpoint, asked, streamed, progress);
    EXPECT_FALSE(loud);
    EXPECT_EQ(loud.error().message, "--effort: " + said.substr(std::string("effort fast: ").size()));
    return said;
  }
  Progress progress;
  std::string said;
};

TEST_F(LearningTest, FastNeverLooksForAnEngine) {
  CompressJob job;
  job.effort = Effort::fast;
  const auto planned = plan_effort(open("llama"), job, false, progress);
  ASSERT_TRUE(planned);
  EXPECT_FALSE(planned->learning || planned->feeds_back);
  EXPECT_EQ(said, "");
}

TEST_F(LearningTest, SaysWhatStandsInTheWay) {
  CompressJob job;
  EXPECT_NE(refusal(job).find("/nowhere/liblissom_engine.so; `make engine` builds it"), std::string::npos);
  EXPECT_NE(refusal(job, "bert").find("predicts no next token"), std::string::npos);
  EXPECT_NE(refusal(job, "llama", true).find("come while they are read"), std::string::npos);
  job.data_free = true;
  EXPECT_NE(refusal(job).find("--calib none"), std::string::npos);
  job.data_free = false;
  job.format = "gptq";
  EXPECT_NE(refusal(job).find("GGUF files alone"), std::string::npos);
}

TEST_F(LearningTest, FeedsBackWhereLearningHasNoRoom) {
  ::setenv("LISSOM_ENGINE", LISSOM_FAKE_ENGINE, 1);
  CompressJob job;
  const auto learns = plan_effort(open("llama"), job, false, progress);
  ASSERT_TRUE(learns) << learns.error().message;
  EXPECT_TRUE(learns->learning && learns->feeds_back);
  EXPECT_EQ(said, "");
  job.ram = 1000;
  const auto feeds_back = plan_effort(open("llama"), job, false, progress);
  ASSERT_TRUE(feeds_back);
  EXPECT_TRUE(feeds_back->feeds_back && !feeds_back->learning);
  EXPECT_TRUE(said.starts_with("error feedback alone: it needs about ")) << said;
  EXPECT_NE(said.find("may take 0.0 GB"), std::string::npos);
  for (const auto& [algorithm, imatrix] : {std::pair("search", ""), std::pair("", "some.imatrix")}) {
    CompressJob plain = job;
    plain.algorithm = algorithm;
    if (*imatrix != '\0') plain.imatrix = imatrix;
    said.clear();
    const auto fast = plan_effort(open("llama"), plain, false, progress);
    ASSERT_TRUE(fast);
    EXPECT_FALSE(fast->feeds_back || fast->learning);
    EXPECT_TRUE(said.starts_with("effort fast: it needs about ")) << said;
  }
  job.effort = Effort::standard;
  const auto asked = plan_effort(open("llama"), job, false, progress);
  ASSERT_FALSE(asked);
  EXPECT_EQ(asked.error().kind, ErrorKind::unsupported);
}

TEST_F(LearningTest, AFileThatIsNoEngineIsAnError) {
  ::setenv("LISSOM_ENGINE", LISSOM_SOURCE_DIR "/README.md", 1);
  EXPECT_NE(refusal({}).find("does not load"), std::string::npos);
}

}  // namespace
}  // namespace lissom
