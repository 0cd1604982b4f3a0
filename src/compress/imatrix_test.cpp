#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>

#include "lissom/compress.h"
#include "lissom/gguf.h"

namespace lissom {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class Imatrix : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = fs::temp_directory_path() / ("lissom_imatrix_" + std::to_string(::getpid()));
    fs::create_directories(dir_);
  }
  void TearDown() override { fs::remove_all(dir_); }
  fs::path file(const std::string& name) const { return dir_ / name; }
  fs::path write(const std::string& name, const std::string& bytes) const {
    std::ofstream(file(name), std::ios::binary) << bytes;
    return file(name);
  }
  fs::path write_gguf(const std::string& type, const std::vector<TensorInfo>& directory,
                      const std::vector<float>& values) const {
    GgufMetadata metadata;
    metadata.set("general.type", type);
    const auto writer = GgufWriter::create(file("x.gguf"), metadata, directory, {});
    EXPECT_TRUE(writer);
    EXPECT_TRUE((*writer)->append(std::as_bytes(std::span(values))));
    EXPECT_TRUE((*writer)->finish());
    return file("x.gguf");
  }
  fs::path dir_;
};

void put(std::string& out, int32_t v) {
  out.append(reinterpret_cast<const char*>(&v), sizeof v);
}
void put(std::string& out, float v) {
  out.append(reinterpret_cast<const char*>(&v), sizeof v);
}

TEST_F(Imatrix, WritingAndReadingChangesNothing) {
  Importance importance;
  importance.entries["blk.0.attn_q.weight"] = {{1.0F, 0.1F, 3e-8F, 12345.678F}, 777};
  importance.entries["blk.1.ffn_down.weight"] = {{0.0F, 5.0F}, 3};
  importance.datasets = {"some text", "übrig"};
  importance.chunks = 4;
  importance.chunk_size = 256;
  importance.skipped_chunks = 1;
  const auto written = write_imatrix(importance, file("a.gguf"));
  ASSERT_TRUE(written) << written.error().message;
  const auto back = read_imatrix(file("a.gguf"));
  ASSERT_TRUE(back) << back.error().message;
  ASSERT_EQ(back->entries.size(), 2U);
  for (const auto& [name, entry] : importance.entries) {
    EXPECT_EQ(back->entries.at(name).sum_square, entry.sum_square);
    EXPECT_EQ(back->entries.at(name).tokens, entry.tokens);
  }
  EXPECT_EQ(back->datasets, importance.datasets);
  EXPECT_EQ(back->chunks, 4);
  EXPECT_EQ(back->chunk_size, 256);
  EXPECT_EQ(back->skipped_chunks, 1);
  EXPECT_FLOAT_EQ(back->entries.at("blk.1.ffn_down.weight").mean_square()[1], 5.0F / 3.0F);
}

TEST_F(Imatrix, ExpertsKeepTheirOwnAndPoorOnesGetTheMean) {
  const auto path =
      write_gguf("imatrix", {{"e.in_sum2", "F32", Shape{3, 2}, 0}, {"e.counts", "F32", Shape{3, 1}, 0}},
                 {100, 200, 30, 40, 0, 0, 100, 10, 0});
  const auto read = read_imatrix(path);
  ASSERT_TRUE(read) << read.error().message;
  const Importance::Entry& entry = read->entries.at("e");
  EXPECT_EQ(entry.tokens, 110);
  EXPECT_EQ(entry.expert_tokens, (std::vector<int64_t>{100, 10, 0}));
  EXPECT_EQ(entry.sum_square, (std::vector<float>{100, 200, 30, 40, 0, 0}));
  const float a = 130.0F / 110.0F, b = 240.0F / 110.0F;
  EXPECT_EQ(entry.mean_square(), (std::vector<float>{1, 2, a, b, a, b}));
  ASSERT_TRUE(write_imatrix(*read, file("again.gguf")));
  const auto again = read_imatrix(file("again.gguf"));
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(again->entries.at("e").expert_tokens, entry.expert_tokens);
  EXPECT_EQ(again->entries.at("e").sum_square, entry.sum_square);
}

TEST(StarvedExperts, AreNamedByLayer) {
  Importance importance;
  importance.entries["blk.10.ffn_down_exps.weight"] = {{1, 1}, 70, {0, 70}};
  importance.entries["blk.10.ffn_up_exps.weight"] = {{1, 1}, 70, {0, 70}};
  importance.entries["blk.2.ffn_down_exps.weight"] = {{1, 1}, 127, {64, 63}};
  importance.entries["blk.2.attn_q.weight"] = {{1, 1}, 3};
  const auto starved = starved_experts(importance);
  ASSERT_EQ(starved.size(), 2U);
  EXPECT_EQ(starved[0].layer, 2);
  EXPECT_EQ(starved[0].expert, 1);
  EXPECT_EQ(starved[0].tokens, 63);
  EXPECT_EQ(starved[1].layer, 10);
  EXPECT_EQ(starved[1].expert, 0);
  EXPECT_EQ(starved[1].tokens, 0);
}

TEST_F(Imatrix, TheOlderFormIsRead) {
  std::string bytes;
  put(bytes, 1);
  put(bytes, 3);
  bytes += "abc";
  put(bytes, 4);
  put(bytes, 2);
  put(bytes, 8.0F);
  put(bytes, 2.0F);
  put(bytes, 17);
  put(bytes, 5);
  bytes += "words";
  const auto read = read_imatrix(write("a.dat", bytes));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->entries.at("abc").mean_square(), (std::vector<float>{2.0F, 0.5F}));
  EXPECT_EQ(read->chunks, 17);
  EXPECT_EQ(read->datasets, std::vector<std::string>{"words"});
  for (size_t cut = 0; cut < 23; ++cut) EXPECT_FALSE(read_imatrix(write("b.dat", bytes.substr(0, cut)))) << cut;
}

TEST_F(Imatrix, HostileFilesAreRefused) {
  EXPECT_FALSE(read_imatrix(file("absent")));
  EXPECT_FALSE(read_imatrix(write("empty", "")));
  std::string huge;
  put(huge, 1);
  put(huge, 1);
  huge += "a";
  put(huge, 1);
  put(huge, std::numeric_limits<int32_t>::max());
  EXPECT_FALSE(read_imatrix(write("huge.dat", huge)));
  std::string negative;
  put(negative, 1);
  put(negative, -5);
  EXPECT_FALSE(read_imatrix(write("negative.dat", negative)));

  const TensorInfo sums{"e.in_sum2", "F32", Shape{1, 8}, 0}, counts{"e.counts", "F32", Shape{1, 1}, 0};
  std::vector<float> values(9, 1.0F);
  const auto message = [&](const std::string& type, const std::vector<TensorInfo>& directory) {
    const auto read = read_imatrix(write_gguf(type, directory, values));
    return read ? std::string("accepted") : read.error().message;
  };
  EXPECT_EQ(message("imatrix", {sums, counts}), "accepted");
  EXPECT_THAT(message("model", {sums, counts}), HasSubstr("not an importance matrix"));
  values[3] = -1;
  EXPECT_THAT(message("imatrix", {sums, counts}), HasSubstr("'e': a sum of squares is negative"));
  values[3] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(message("imatrix", {sums, counts}), HasSubstr("not finite"));
  values[3] = 1;
  values[8] = std::numeric_limits<float>::infinity();
  EXPECT_THAT(message("imatrix", {sums, counts}), HasSubstr("a count is not"));
  values.resize(8);
  EXPECT_THAT(message("imatrix", {sums}), HasSubstr("no .counts"));
  values.resize(11, 1.0F);
  EXPECT_THAT(message("imatrix", {sums, {"e.counts", "F32", Shape{1, 3}, 0}}),
              HasSubstr("8 sums for 3 counts"));
}

}  // namespace
}  // namespace lissom
