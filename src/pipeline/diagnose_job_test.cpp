#include "pipeline/diagnose_job.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "pipeline/compress_job.h"
#include "pipeline/health.h"
#include "support/temp_folder.h"

namespace lissom {
namespace {

using ::testing::HasSubstr;

const std::string kLlama = std::string(LISSOM_SOURCE_DIR) + "/tests/golden/llama";

class DiagnoseJobTest : public ::testing::Test {
 protected:
  void SetUp() override {
    CompressJob compress;
    compress.model = kLlama;
    compress.out = small_;
    compress.schemes = {"Q4_0"};
    compress.data_free = true;
    compress.verify = false;
    compress.threads = 2;
    const auto done = run_compress(compress, {});
    ASSERT_TRUE(done) << done.error().message;
  }
  [[nodiscard]] DiagnoseJob job() const {
    DiagnoseJob j;
    j.base = kLlama;
    j.compressed = small_;
    j.context = 32;
    j.chunks = 2;
    j.runtime.threads = 2;
    return j;
  }
  static std::string refusal(const DiagnoseJob& j) {
    const auto outcome = run_diagnose(j, {});
    return outcome ? "accepted" : outcome.error().message;
  }
  testing::TempFolder folder_;
  std::string small_ = folder_ / "small.gguf";
};

TEST_F(DiagnoseJobTest, ReportsWhatItMeasured) {
  DiagnoseJob j = job();
  j.report = folder_ / "report";
  const auto outcome = run_diagnose(j, {});
  ASSERT_TRUE(outcome) << outcome.error().message;
  const Json& report = outcome->report;
  EXPECT_TRUE(outcome->healthy) << report["verdict"].dump();
  EXPECT_EQ(report["report"], "lissom diagnose");
  EXPECT_EQ(report["layers"].size(), 3U);
  EXPECT_GT(report["logits"]["kld_mean"].get<double>(), 0.0);
  EXPECT_EQ(report["scan"]["complete"], true);
  EXPECT_THAT(report["evaluation"]["description"].get<std::string>(), HasSubstr("sampled from the base"));
  EXPECT_EQ(report["health"]["greedy"]["base"]["texts"].size(), 6U);
  EXPECT_EQ(report["health"]["sampled"]["compressed"]["texts"].size(), 12U);
  EXPECT_EQ(*read_json(folder_ / "report" / "report.json"), report);
  EXPECT_TRUE(std::filesystem::exists(folder_ / "report" / "report.html"));
  // The same again, whatever the number of threads.
  j.report.reset();
  j.runtime.threads = 1;
  const auto again = run_diagnose(j, {});
  ASSERT_TRUE(again);
  for (const char* field : {"tensors", "layers", "health", "culprits"})
    EXPECT_EQ(again->report[field], report[field]);
}

TEST_F(DiagnoseJobTest, ALimitThatIsNotMetIsAFault) {
  DiagnoseJob j = job();
  j.max_kld = 0;
  j.scan_seconds = 0;
  j.generate = false;
  const auto outcome = run_diagnose(j, {});
  ASSERT_TRUE(outcome) << outcome.error().message;
  EXPECT_FALSE(outcome->healthy);
  EXPECT_EQ(outcome->report["limits"][0]["met"], false);
  EXPECT_THAT(outcome->report["verdict"]["reasons"][0].get<std::string>(), HasSubstr("--max-kld 0"));
  EXPECT_TRUE(outcome->report["health"].is_null());
  j.max_kld = 100;
  EXPECT_TRUE(run_diagnose(j, {})->healthy);
}

TEST_F(DiagnoseJobTest, RefusesWhatItCannotJudge) {
  DiagnoseJob j = job();
  j.context = 4;
  EXPECT_THAT(refusal(j), HasSubstr("--ctx 4"));
  j = job();
  j.chunks = 0;
  EXPECT_THAT(refusal(j), HasSubstr("--text"));
  j = job();
  j.text = folder_ / "none.txt";
  EXPECT_THAT(refusal(j), HasSubstr("none.txt"));
  j = job();
  j.compressed = std::string(LISSOM_SOURCE_DIR) + "/tests/golden/bert";
  EXPECT_THAT(refusal(j),
              ::testing::AllOf(HasSubstr("golden/llama"), HasSubstr("golden/bert"), HasSubstr("architecture")));
  j.base = j.compressed;
  EXPECT_THAT(refusal(j), HasSubstr("--text FILE"));
  j.max_kld = 1;
  EXPECT_THAT(refusal(j), HasSubstr("--max-kld"));
}

TEST(Health, OneWordForEver) {
  std::vector<int32_t> tokens{1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9, 9, 9, 9, 9};
  EXPECT_TRUE(goes_round(tokens, 4));
  for (size_t i = 8; i < 16; ++i) tokens[i] = static_cast<int32_t>(i % 2);
  EXPECT_TRUE(goes_round(tokens, 4));
  EXPECT_FALSE(goes_round(tokens, 1));
  tokens[12] = 7;
  EXPECT_FALSE(goes_round(tokens, 4));
  EXPECT_FALSE(goes_round(std::span<const int32_t>(tokens).first(0), 4));
  EXPECT_FALSE(goes_round(std::vector<int32_t>{5, 5}, 4));
}

}  // namespace
}  // namespace lissom
