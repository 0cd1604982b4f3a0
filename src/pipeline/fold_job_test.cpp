#include "pipeline/fold_job.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "lissom/gguf.h"

namespace lissom {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class FoldJob : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = fs::temp_directory_path() / ("lissom_fold_" + std::to_string(::getpid()));
    fs::create_directories(dir_);
  }
  void TearDown() override { fs::remove_all(dir_); }

  CompressJob job(const std::string& model, const std::vector<std::string>& folds) const {
    CompressJob j;
    j.effort = Effort::fast;
    j.model = fs::path(LISSOM_SOURCE_DIR) / "tests/golden" / model;
    j.out = dir_ / "out.gguf";
    j.schemes = {"Q4_0"};
    j.context = 32;
    j.eval_chunks = 2;
    j.sample_tokens = 256;
    j.threads = 1;
    for (const std::string& word : folds) EXPECT_TRUE(add_fold(word, j.folds));
    return j;
  }
  static std::string refusal(const CompressJob& j) {
    const auto outcome = run_compress(j, {});
    return outcome ? "accepted" : outcome.error().message;
  }
  fs::path dir_;
};

TEST_F(FoldJob, WritesAFileOfTheSameTypesAndSaysWhatWasFolded) {
  const auto plain = run_compress(job("llama", {}), {});
  ASSERT_TRUE(plain) << plain.error().message;
  const auto folded = run_compress(job("llama", {"awq", "heads"}), {});
  ASSERT_TRUE(folded) << folded.error().message;
  const Json &before = plain->report["results"][0], &after = folded->report["results"][0];
  EXPECT_FALSE(before.contains("fold"));
  EXPECT_EQ(after["fold"]["kinds"], "awq heads");
  EXPECT_EQ(after["fold"]["rotation"]["heads"], 2);
  EXPECT_EQ(after["fold"]["awq"]["tried"], 8);
  EXPECT_EQ(after["file_bytes"], before["file_bytes"]);
  EXPECT_LT(after["eval"]["kld_mean"].get<double>(), 2 * before["eval"]["kld_mean"].get<double>());
  for (size_t i = 0; i < before["tensors"].size(); ++i)
    for (const char* field : {"name", "from", "codec", "bytes_before", "bytes_after"})
      EXPECT_EQ(after["tensors"][i][field], before["tensors"][i][field]);
  const auto file = GgufFile::open(dir_ / "out.gguf").value();
  EXPECT_EQ(file->metadata().string_or("lissom.source_digest", ""), plain->report["source"]["digest"])
      << "it is still that source's";
}

TEST_F(FoldJob, RotationsNeedNoText) {
  CompressJob j = job("llama_llama3", {"residual"});
  j.data_free = true;
  const auto outcome = run_compress(j, {});
  ASSERT_TRUE(outcome) << outcome.error().message;
  EXPECT_EQ(outcome->report["results"][0]["fold"]["rotation"]["residual"], true);
  EXPECT_FALSE(outcome->report["results"][0]["fold"].contains("awq"));
}

TEST_F(FoldJob, IsPlannedWithoutReadingAWeight) {
  CompressJob j = job("gpt2", {"awq"});
  j.dry_run = true;
  const Json fold = run_compress(j, {})->report["results"][0]["fold"];
  EXPECT_EQ(fold["norm"], 4);
  EXPECT_EQ(fold["attention"], 2);
  EXPECT_EQ(fold["product"], 0);
  EXPECT_THAT(fold["left"].dump(), HasSubstr("blk.*.ffn_down_in: what makes it is not linear"));
}

TEST_F(FoldJob, APaddedFfnTakesBlocksOf256) {
  CompressJob j = job("llama", {});
  j.schemes = {"Q4_K_M"};
  const auto plain = run_compress(j, {});
  ASSERT_TRUE(plain) << plain.error().message;
  j.pad_ffn = PadFfn::always;
  const auto padded = run_compress(j, {});
  ASSERT_TRUE(padded) << padded.error().message;
  EXPECT_FALSE(plain->report["source"].contains("ffn_padded"));
  EXPECT_EQ(padded->report["source"]["ffn_padded"], 256);
  EXPECT_EQ(padded->report["source"]["digest"], plain->report["source"]["digest"]);
  const auto file = GgufFile::open(dir_ / "out.gguf").value();
  EXPECT_EQ(file->metadata().integer_or("llama.feed_forward_length", 0), 256);
  const auto down = static_cast<size_t>(file->find("blk.1.ffn_down.weight"));
  EXPECT_EQ(file->tensors()[down].shape, (Shape{32, 256}));
  EXPECT_THAT(file->tensors()[down].type, ::testing::EndsWith("_K"));
  EXPECT_LT(padded->report["results"][0]["eval"]["kld_mean"].get<double>(), 0.5);
  j.format = "compressed-tensors";
  j.schemes = {"w4a16-g32"};
  j.out = dir_ / "folder";
  EXPECT_THAT(refusal(j), HasSubstr("GGUF files and packs"));
  j = job("mixtral", {});
  j.pad_ffn = PadFfn::always;
  EXPECT_THAT(refusal(j), HasSubstr("--pad-ffn: the FFN of a mixture"));
}

TEST_F(FoldJob, WhatCannotBeIsRefused) {
  CompressJob j = job("llama", {"awq"});
  j.data_free = true;
  EXPECT_THAT(refusal(j), HasSubstr("--fold awq reads a text"));
  EXPECT_THAT(refusal(job("llama", {"residual"})), HasSubstr("also the head"));
  EXPECT_THAT(refusal(job("albert", {"heads"})), HasSubstr("no room"));
  j = job("llama_llama3", {"heads"});
  j.format = "awq";
  EXPECT_THAT(refusal(j), HasSubstr("GGUF files and packs"));
  Folds folds;
  EXPECT_THAT(add_fold("spin", folds).error().message, HasSubstr("awq, heads or residual"));
}

}  // namespace
}  // namespace lissom
