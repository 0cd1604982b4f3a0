#include "format/hf_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "format/hf.h"
#include "format/safetensors.h"
#include "support/temp_folder.h"

namespace lissom {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

/// Narrow types before wide ones, and odd sizes: in this order they would not lie aligned.
std::vector<TensorInfo> directory() {
  return {{"a.packed", "U8", {3, 3}, 9}, {"a.scale", "F16", {3}, 6},  {"a.shape", "I64", {2}, 16},
          {"b.packed", "U8", {5}, 5},    {"b.global", "F32", {1}, 4}, {"c", "BF16", {2, 2}, 8}};
}

std::vector<std::byte> content(const TensorInfo& info) {
  std::vector<std::byte> bytes(info.bytes);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(info.name.size() * 16 + i);
  return bytes;
}

Result<void> write(const fs::path& folder, uint64_t shard_bytes, size_t tensors) {
  const auto list = directory();
  LISSOM_TRY(const auto writer, HfWeightsWriter::create(folder, list, {{"format", "pt"}}, shard_bytes));
  for (size_t i = 0; i < tensors; ++i) LISSOM_CHECK(writer->append(content(list[i % list.size()])));
  return writer->finish();
}

TEST(HfWeightsWriter, OneFileOrShardsHoldTheSame) {
  for (const uint64_t shard_bytes : {uint64_t{1} << 30, uint64_t{20}, uint64_t{1}}) {
    const testing::TempFolder folder;
    const auto done = write(folder.path(), shard_bytes, 6);
    ASSERT_TRUE(done) << done.error().message;
    EXPECT_EQ(fs::exists(folder / "model.safetensors.index.json"), shard_bytes < 100);
    const auto read = open_hf_weights(folder.path());
    ASSERT_TRUE(read) << read.error().message;
    ASSERT_EQ((*read)->tensors().size(), 6U);
    for (const TensorInfo& info : directory()) {
      const int64_t at = (*read)->find(info.name);
      ASSERT_GE(at, 0) << info.name;
      const auto view = (*read)->read(static_cast<size_t>(at));
      ASSERT_TRUE(view);
      EXPECT_EQ(view->info.shape, info.shape) << info.name;
      EXPECT_TRUE(std::ranges::equal(view->data, content(info))) << info.name;
      // It lies aligned: else each read() would make a copy.
      const auto again = (*read)->read(static_cast<size_t>(at));
      ASSERT_TRUE(again);
      EXPECT_EQ(view->data.data(), again->data.data()) << info.name;
    }
  }
}

TEST(HfWeightsWriter, MissingAndSurplusTensorsAreRefused) {
  const testing::TempFolder folder;
  EXPECT_THAT(write(folder.path(), 1U << 20, 5).error().message, HasSubstr("lacks 1 tensors"));
  EXPECT_THAT(write(folder.path(), 1U << 20, 7).error().message, HasSubstr("more tensors than"));
  EXPECT_FALSE(HfWeightsWriter::create(folder.path(), {}, {}, 1));
}

TEST(SafetensorsWriter, PutsEachTensorOnceAndWhole) {
  const testing::TempFolder folder;
  const auto writer = SafetensorsWriter::create(folder / "x.safetensors", directory(), {});
  ASSERT_TRUE(writer);
  EXPECT_TRUE((*writer)->put(5, content(directory()[5])));
  EXPECT_FALSE((*writer)->put(5, content(directory()[5])));
  EXPECT_FALSE((*writer)->put(6, {}));
  EXPECT_FALSE((*writer)->put(0, content(directory()[1])));
  EXPECT_FALSE((*writer)->finish());
}

TEST(WriteWholeFolder, AppearsWholeOrNotAtAll) {
  const testing::TempFolder folder;
  const fs::path out = folder / "out";
  const auto fill = [&](bool good) {
    return write_whole_folder(out, [&](const fs::path& into) -> Result<void> {
      EXPECT_FALSE(fs::exists(out));
      LISSOM_CHECK(write_file(into / "file", "x"));
      return good ? Result<void>() : bad_input("broken");
    });
  };
  EXPECT_EQ(fill(false).error().message, "broken");
  EXPECT_TRUE(fs::is_empty(folder.path()));
  ASSERT_TRUE(fill(true));
  EXPECT_EQ(*read_file(out / "file", 10), "x");
  EXPECT_THAT(fill(true).error().message, HasSubstr("is not empty"));
}

}  // namespace
}  // namespace lissom
