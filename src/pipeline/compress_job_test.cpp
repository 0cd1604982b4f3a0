#include "pipeline/compress_job.h"
#include "pipeline/feedback.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "base/file.h"
#include "lissom/compress.h"
#include "lissom/gguf.h"
#include "pipeline/health.h"
#include "pipeline/record.h"
#include "pipeline/texts.h"

namespace lissom {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class CompressJobTest : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = fs::temp_directory_path() / ("lissom_job_" + std::to_string(::getpid()));
    fs::create_directories(dir_);
  }
  void TearDown() override { fs::remove_all(dir_); }

  /// A job on a tiny golden model, judged on its own samples.
  CompressJob job(const std::string& scheme) const {
    CompressJob j;
    j.effort = Effort::fast;
    j.model = fs::path(LISSOM_SOURCE_DIR) / "tests/golden/llama";
    j.out = dir_ / "out.gguf";
    j.schemes = {scheme};
    j.context = 32;
    j.eval_chunks = 2;
    j.sample_tokens = 256;
    j.threads = 2;
    return j;
  }
  static std::string refusal(const CompressJob& j) {
    const auto outcome = run_compress(j, {});
    return outcome ? "accepted" : outcome.error().message;
  }
  fs::path dir_;
};

TEST_F(CompressJobTest, MeasuresWhatItWrote) {
  CompressJob j = job("Q4_0");
  j.report = dir_ / "report";
  j.save_imatrix = dir_ / "saved.gguf";
  j.max_kld = 100;
  const auto outcome = run_compress(j, {});
  ASSERT_TRUE(outcome) << outcome.error().message;
  EXPECT_TRUE(outcome->limits_met);
  const Json& result = outcome->report["results"][0];
  EXPECT_EQ(result["scheme"], "Q4_0");
  EXPECT_GT(result["eval"]["kld_mean"].get<double>(), 0.0);
  EXPECT_GT(result["eval"]["ppl_base"].get<double>(), 1.0);
  EXPECT_EQ(result["sha256"], *file_sha256(j.out));
  EXPECT_TRUE(result["health"].contains("repetition_base"));
  EXPECT_EQ(outcome->report["calibration"]["uncovered"], "none");
  EXPECT_THAT(outcome->report["evaluation"]["disjoint"].get<std::string>(), ::testing::StartsWith("yes"));
  const auto written = GgufFile::open(j.out);
  ASSERT_TRUE(written);
  EXPECT_EQ(*(*written)->metadata().string("lissom.source_digest"), outcome->report["source"]["digest"]);
  const auto report = read_json(dir_ / "report" / "report.json");
  ASSERT_TRUE(report);
  EXPECT_EQ(report->at("results")[0]["eval"], result["eval"]);
  // The statistics saved give the same bytes again.
  const auto statistics = read_imatrix(dir_ / "saved.gguf");
  ASSERT_TRUE(statistics);
  EXPECT_GT(statistics->entries.at("blk.0.ffn_down.weight").tokens, 100);
  CompressJob again = job("Q4_0");
  again.imatrix = dir_ / "saved.gguf";
  again.out = dir_ / "again.gguf";
  again.verify = false;
  ASSERT_TRUE(run_compress(again, {}));
  EXPECT_EQ(*file_sha256(again.out), *file_sha256(j.out));
}

TEST_F(CompressJobTest, AFolderIsMeasuredToo) {
  CompressJob j = job("w4a16-g32");
  j.format = "compressed-tensors";
  j.out = dir_ / "folder";
  j.report = dir_ / "report";
  const auto outcome = run_compress(j, {});
  ASSERT_TRUE(outcome) << outcome.error().message;
  const Json& result = outcome->report["results"][0];
  EXPECT_EQ(result["scheme"], "w4a16-g32");
  EXPECT_EQ(result["format"], "compressed-tensors");
  EXPECT_EQ(result["path"], j.out.string());
  EXPECT_GT(result["eval"]["kld_mean"].get<double>(), 0.0);
  EXPECT_LT(result["eval"]["kld_mean"].get<double>(), 1.0);
  ASSERT_EQ(result["files"].size(), fs::exists(j.out / "generation_config.json") ? 5U : 4U);
  EXPECT_EQ(result["files"][1]["sha256"], *file_sha256(j.out / result["files"][1]["name"].get<std::string>()));
  EXPECT_THAT(refusal(j), HasSubstr("is not empty"));
  j.out = dir_ / "another";
  j.schemes = {"Q4_0"};
  EXPECT_THAT(refusal(j), HasSubstr("compressed-tensors has no scheme 'Q4_0'"));
  j.schemes = {"w8a8", "fp8"};
  EXPECT_THAT(refusal(j), HasSubstr("name one scheme"));
  j.schemes = {"w8a8"};
  j.dry_run = true;
  const auto plan = run_compress(j, {});
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_GT(plan->report["results"][0]["bits_per_weight"].get<double>(), 8.0);
  EXPECT_FALSE(fs::exists(j.out));
}

TEST_F(CompressJobTest, LimitsSayNo) {
  CompressJob j = job("Q2_K");
  j.max_kld = 0.0;
  const auto outcome = run_compress(j, {});
  ASSERT_TRUE(outcome) << outcome.error().message;
  EXPECT_FALSE(outcome->limits_met);
  EXPECT_EQ(outcome->report["results"][0]["limits_met"], false);
}

TEST_F(CompressJobTest, FinishedWorkIsTakenOver) {
  CompressJob j = job("Q8_0");
  j.schemes = {"Q8_0", "Q4_0"};
  j.out = dir_ / "out";
  const auto first = run_compress(j, {});
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_EQ(first->reused, 0);
  const auto second = run_compress(j, {});
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_EQ(second->reused, 2);
  EXPECT_EQ(first->report["results"], second->report["results"]);
  EXPECT_EQ(first->report["evaluation"], second->report["evaluation"]);
  EXPECT_EQ(first->report["calibration"], second->report["calibration"]);
  j.max_kld = 0.0;  // a limit is no reason to work again
  const auto limited = run_compress(j, {});
  ASSERT_TRUE(limited);
  EXPECT_EQ(limited->reused, 2);
  EXPECT_FALSE(limited->limits_met);
  j.seed = 1;  // other samples are
  const auto other = run_compress(j, {});
  ASSERT_TRUE(other);
  EXPECT_EQ(other->reused, 0);
}

TEST_F(CompressJobTest, ASizeIsSearchedFor) {
  CompressJob j = job("");
  j.schemes.clear();
  j.bits_per_weight = 6;
  j.report = dir_ / "report";
  const auto outcome = run_compress(j, {});
  ASSERT_TRUE(outcome) << outcome.error().message;
  const Json& result = outcome->report["results"][0];
  EXPECT_EQ(result["scheme"], "search");
  EXPECT_LE(result["bits_per_weight"].get<double>(), 6.0);
  EXPECT_GT(result["search"]["frontier"].size(), 5U);
  EXPECT_GT(result["search"]["kld"].get<double>(), 0.0);
  EXPECT_FALSE(fs::exists(dir_ / "out.gguf.search"));
  // Its plan is a scheme like any other, and gives the same bytes.
  CompressJob again = job((dir_ / "out.gguf.scheme.yaml").string());
  again.out = dir_ / "again.gguf";
  again.verify = false;
  const auto repeated = run_compress(again, {});
  ASSERT_TRUE(repeated) << repeated.error().message;
  EXPECT_EQ(*file_sha256(again.out), *file_sha256(j.out));
  // A divergence alone asks for the smallest file that meets it.
  j.bits_per_weight = 0;
  j.max_kld = 1.0;
  const auto smallest = run_compress(j, {});
  ASSERT_TRUE(smallest) << smallest.error().message;
  EXPECT_TRUE(smallest->limits_met);
  EXPECT_LE(smallest->report["results"][0]["search"]["kld_bound"].get<double>(), 1.0);
  // With a scheme it is a limit and no wish.
  j.schemes = {"Q8_0"};
  const auto named = run_compress(j, {});
  ASSERT_TRUE(named) << named.error().message;
  EXPECT_EQ(named->report["results"][0]["scheme"], "Q8_0");
  EXPECT_GT(named->report["results"][0]["file_bytes"], smallest->report["results"][0]["file_bytes"]);
}

TEST_F(CompressJobTest, AStoppedSearchGoesOn) {
  CompressJob j = job("");
  j.schemes.clear();
  j.bits_per_weight = 6;
  j.verify = false;
  ASSERT_TRUE(run_compress(j, {}));
  const std::string whole = *file_sha256(j.out);
  fs::remove(j.out);
  Progress progress;
  int measured = 0;
  progress.step = [&](std::string_view stage, int64_t, int64_t, std::string_view) {
    if (stage == "search") ++measured;
  };
  progress.cancelled = [&] { return measured > 12; };
  const auto stopped = run_compress(j, progress);
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().kind, ErrorKind::cancelled);
  EXPECT_TRUE(fs::exists(dir_ / "out.gguf.search"));
  EXPECT_FALSE(fs::exists(j.out));
  const auto resumed = run_compress(j, {});
  ASSERT_TRUE(resumed) << resumed.error().message;
  EXPECT_GT(resumed->report["results"][0]["search"]["remembered"].get<int>(), 5);
  EXPECT_EQ(*file_sha256(j.out), whole);
  EXPECT_FALSE(fs::exists(dir_ / "out.gguf.search"));
}

TEST_F(CompressJobTest, WithoutTextASchemeOfTheSizeIsTaken) {
  CompressJob j = job("");
  j.schemes.clear();
  j.bits_per_weight = 6;
  j.data_free = true;
  std::string said;
  Progress progress;
  progress.log = [&](LogLevel, std::string_view text) { said += std::string(text) + "\n"; };
  const auto outcome = run_compress(j, progress);
  ASSERT_TRUE(outcome) << outcome.error().message;
  EXPECT_NE(outcome->report["results"][0]["scheme"], "search");
  EXPECT_THAT(said, HasSubstr("no search, a built-in scheme is taken: --calib none"));
}

TEST_F(CompressJobTest, TheTailOfACalibrationTextIsKeptForJudging) {
  std::ofstream text(dir_ / "text.txt");
  for (int i = 0; i < 400; ++i) text << "line " << i * i * 7919 << " says " << i * 31 << " times " << i << "\n";
  text.close();
  CompressJob j = job("Q4_0");
  j.calib = dir_ / "text.txt";
  j.calib_chunks = 4;
  const auto outcome = run_compress(j, {});
  ASSERT_TRUE(outcome) << outcome.error().message;
  EXPECT_THAT(outcome->report["evaluation"]["description"].get<std::string>(),
              HasSubstr("the last tenth of text.txt"));
  EXPECT_THAT(outcome->report["calibration"]["description"].get<std::string>(), HasSubstr("first nine tenths"));
  j.eval_text = j.calib;
  EXPECT_THAT(refusal(j), HasSubstr("not disjoint"));
}

TEST_F(CompressJobTest, AnEncoderIsCompressedButNotJudged) {
  CompressJob j = job("Q8_0");
  j.model = fs::path(LISSOM_SOURCE_DIR) / "tests/golden/bert";
  const auto outcome = run_compress(j, {});
  ASSERT_TRUE(outcome) << outcome.error().message;
  EXPECT_EQ(outcome->report["warnings"].size(), 2U);
  EXPECT_FALSE(outcome->report["results"][0].contains("eval"));
  j.max_kld = 1;
  EXPECT_THAT(refusal(j), HasSubstr("predicts no next token"));
}

TEST_F(CompressJobTest, PacksAreFedBackUnlessTheyMayNotBe) {
  const auto fed = [&](const std::string& algorithm, std::optional<Effort> effort, uint64_t ram) {
    CompressJob j = job("lissom_4");
    j.format = "pack";
    j.out = dir_ / (algorithm + std::to_string(ram) + (effort ? "fast" : "") + ".safetensors");
    j.algorithm = algorithm;
    j.effort = effort;
    j.ram = ram;
    j.verify = j.check_room = false;
    const auto outcome = run_compress(j, {});
    EXPECT_TRUE(outcome) << outcome.error().message;
    std::map<std::string, bool> by_codec;
    if (outcome)
      for (const Json& tensor : outcome->report["results"][0]["tensors"])
        if (tensor["codec"] != tensor["from"])
          by_codec[tensor["codec"]] = tensor.value("algorithm", "") == kErrorFeedback;
    return by_codec.contains("lissom_4_v1") && by_codec.at("lissom_4_v1");
  };
  EXPECT_TRUE(fed("", {}, 0));
  EXPECT_TRUE(fed(kErrorFeedback, Effort::fast, 0));
  EXPECT_FALSE(fed("", Effort::fast, 0));
  EXPECT_FALSE(fed(kSearch, {}, 0));
  EXPECT_FALSE(fed("", {}, 1 << 20)) << "nothing has room in a megabyte";
}

TEST_F(CompressJobTest, MistakesAreSaidBeforeAnyWork) {
  CompressJob j = job("Q4_0");
  j.model = dir_ / "absent";
  EXPECT_THAT(refusal(j), HasSubstr("absent"));
  j = job("nonsense");
  EXPECT_THAT(refusal(j), HasSubstr("unknown scheme 'nonsense'"));
  j = job("Q4_0");
  j.schemes = {"Q4_0", "Q8_0"};
  EXPECT_THAT(refusal(j), HasSubstr("need a folder"));
  j.out = dir_ / "folder";
  j.schemes = {"Q4_0", "q4_0"};
  EXPECT_THAT(refusal(j), HasSubstr("given twice"));
  j = job("Q4_0");
  j.file_bytes = 1;
  EXPECT_THAT(refusal(j), HasSubstr("give one of the two"));
  j.schemes.clear();
  EXPECT_THAT(refusal(j), HasSubstr("smallest possible here is"));
  j = job("Q4_0");
  j.verify = false;
  j.max_kld = 1;
  EXPECT_THAT(refusal(j), HasSubstr("--no-verify"));
  j = job("Q4_0");
  j.data_free = true;
  j.imatrix = dir_ / "x";
  EXPECT_THAT(refusal(j), HasSubstr("give one of the two"));
  j = job("Q4_0");
  j.calib = dir_ / "no text";
  EXPECT_THAT(refusal(j), HasSubstr("no text"));
  EXPECT_FALSE(fs::exists(dir_ / "out.gguf"));
}

TEST_F(CompressJobTest, ADryRunWritesNothing) {
  CompressJob j = job("Q4_0");
  j.dry_run = true;
  const auto outcome = run_compress(j, {});
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->report["results"][0]["tensors"][0]["name"], "token_embd.weight");
  EXPECT_TRUE(fs::is_empty(dir_));
}

TEST_F(CompressJobTest, ARecordThatDoesNotFitIsNoRecord) {
  const fs::path out = dir_ / "a.gguf";
  ASSERT_TRUE(write_file(out, "bytes"));
  const Json result = {{"scheme", "Q4_0"}, {"file_bytes", 5U}, {"sha256", *file_sha256(out)}};
  const Json evaluation = {{"disjoint", "yes"}};
  ASSERT_TRUE(write_record(out, {"key", result, evaluation}));
  EXPECT_TRUE(read_record(out, "key"));
  EXPECT_FALSE(read_record(out, "another"));
  ASSERT_TRUE(write_file(out, "other"));
  EXPECT_FALSE(read_record(out, "key"));
  for (const char* text : {"", "[]", "{", R"({"key": "key"})", R"({"key": "key", "result": 7})",
                           R"({"key": "key", "result": {"scheme": 1}, "evaluation": []})"}) {
    ASSERT_TRUE(write_file(record_path(out), text));
    EXPECT_FALSE(read_record(out, "key")) << text;
  }
}

TEST(Texts, AreSplitAtALineEnd) {
  std::string text;
  for (int i = 0; i < 100; ++i) text += "0123456789\n";
  EXPECT_EQ(split_point(text), 990U);
  EXPECT_EQ(text[split_point(text) - 1], '\n');
  EXPECT_EQ(split_point(std::string(1000, 'x')), 900U);
  std::string wide;
  for (int i = 0; i < 100; ++i) wide += "日";
  EXPECT_EQ(split_point(wide) % 3, 0U);
  EXPECT_EQ(split_point(""), 0U);
}

TEST(Health, CountsWhatIsSaidAgain) {
  const std::vector<int32_t> circle = {1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4};
  EXPECT_DOUBLE_EQ(repeated_share(circle, 4), 5.0 / 9.0);
  EXPECT_EQ(repeated_share(std::vector<int32_t>{1, 2, 3, 4, 5, 6}, 4), 0.0);
  EXPECT_EQ(repeated_share(std::vector<int32_t>{1, 2}, 4), 0.0);
}

}  // namespace
}  // namespace lissom
