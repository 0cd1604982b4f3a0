#include "format/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/file.h"
#include "hostile/bytes.h"
#include "support/temp_folder.h"

namespace lissom {
namespace {

using hostile::Bytes;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;
using testing::TempFolder;

auto open(const std::string& bytes) {
  return SafetensorsFile::open_memory(std::as_bytes(std::span(bytes)), "t");
}

std::vector<std::byte> counting(size_t n, int first) {
  std::vector<std::byte> bytes(n);
  for (size_t i = 0; i < n; ++i) bytes[i] = static_cast<std::byte>(first + static_cast<int>(i));
  return bytes;
}

TEST(Safetensors, Reads) {
  const std::string bytes = hostile::small_safetensors();
  const auto file = open(bytes);
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_THAT((*file)->metadata(), ElementsAre(Pair("format", "pt")));
  const auto list = (*file)->tensors();
  ASSERT_EQ(list.size(), 4U);
  EXPECT_EQ(list[0].name, "a.weight");
  EXPECT_EQ(list[0].shape, (Shape{2, 3}));
  EXPECT_EQ(list[1].shape.rank(), 0);
  EXPECT_EQ(list[2].type, "F8_E4M3");
  EXPECT_EQ(list[3].bytes, 0U);
  EXPECT_EQ((*file)->find("c"), 2);
  EXPECT_EQ((*file)->find("d"), -1);
  EXPECT_FALSE((*file)->read(4));
}

TEST(Safetensors, UnalignedTensorsAreAlignedForTheReader) {
  const std::string bytes = Bytes()
                                .safetensors(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                                             R"("b":{"dtype":"F64","shape":[1],"data_offsets":[1,9]}})",
                                             9)
                                .str();
  const auto view = open(bytes).value()->read(1);
  ASSERT_TRUE(view);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(view->data.data()) % 8, 0U);
  EXPECT_EQ(view->data.size(), 8U);
}

TEST(Safetensors, AnEmptyFileIsValid) {
  const std::string bytes = Bytes().safetensors("{}", 0).str();
  EXPECT_TRUE(open(bytes).value()->tensors().empty());
}

const std::vector<const char*> kTypes{"BOOL", "U8",  "I8",  "F8_E5M2", "F8_E4M3", "F8_E8M0",
                                      "I16",  "U16", "F16", "BF16",    "I32",     "U32",
                                      "F32",  "C64", "F64", "I64",     "U64"};

TEST(SafetensorsWriter, WhatIsWrittenReadsBack) {
  const TempFolder folder;
  std::vector<TensorInfo> directory;
  directory.reserve(std::size(kTypes) + 2);
  for (const char* type : kTypes) directory.push_back({std::string("t.\"é\".") + type, type, {2, 3}, 0});
  directory.push_back({"scalar", "F32", {}, 4});
  directory.push_back({"none", "F32", {0, 4}, 0});
  sort_for_safetensors(directory);
  EXPECT_EQ(directory.front().type, "U64");
  EXPECT_EQ(directory.back().type, "BOOL");
  const std::map<std::string, std::string> metadata{{"format", "pt"}, {"odd\n\"", "\xf0\x9f\x8c\xb5"}};
  const auto writer = SafetensorsWriter::create(folder / "a.safetensors", directory, metadata);
  ASSERT_TRUE(writer) << writer.error().message;
  std::vector<std::vector<std::byte>> data;
  for (const TensorInfo& t : directory) {
    data.push_back(counting(static_cast<size_t>(t.shape.elements() * safetensors_bits(t.type) / 8), t.type[1]));
    ASSERT_TRUE((*writer)->append(data.back()));
  }
  ASSERT_TRUE((*writer)->finish());
  const auto file = SafetensorsFile::open(folder / "a.safetensors");
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ((*file)->metadata(), metadata);
  for (size_t i = 0; i < directory.size(); ++i) {
    const int64_t at = (*file)->find(directory[i].name);
    ASSERT_GE(at, 0);
    const auto view = (*file)->read(static_cast<size_t>(at));
    EXPECT_EQ(view->info.type, directory[i].type);
    EXPECT_EQ(view->info.shape, directory[i].shape);
    EXPECT_EQ(std::vector<std::byte>(view->data.begin(), view->data.end()), data[i]);
  }
}

TEST(SafetensorsWriter, RefusesWhatReadersWouldRefuse) {
  const TempFolder folder;
  const auto error = [&](const std::vector<TensorInfo>& directory,
                         const std::map<std::string, std::string>& m = {}) {
    const auto writer = SafetensorsWriter::create(folder / "a", directory, m);
    return writer ? "created" : writer.error().message;
  };
  EXPECT_THAT(error({{"a", "Q4_0", {32}, 18}}), HasSubstr("cannot store type 'Q4_0'"));
  EXPECT_THAT(error({{"a", "F32", {2}, 4}}), HasSubstr("takes 8"));
  EXPECT_THAT(error({{"", "F32", {2}, 8}}), HasSubstr("name is empty"));
  EXPECT_THAT(error({{"\xff", "F32", {2}, 8}}), HasSubstr("not UTF-8"));
  EXPECT_THAT(error({{"a", "F32", {2}, 8}, {"a", "F32", {2}, 8}}), HasSubstr("twice"));
  EXPECT_THAT(error({{"__metadata__", "F32", {2}, 8}}), HasSubstr("reserved"));
  EXPECT_THAT(error({{"a", "F32", {-1}, 0}}), HasSubstr("not valid"));
  EXPECT_THAT(error({{"a", "F32", {1LL << 40, 1LL << 40}, 0}}), HasSubstr("not valid"));
  EXPECT_THAT(error({}, {{"k", "\xff"}}), HasSubstr("metadata 'k'"));
  EXPECT_EQ(error({}), "created");
  {
    const auto writer = SafetensorsWriter::create(folder / "a", {{"a", "U8", {2}, 2}}, {}).value();
    ASSERT_TRUE(writer->append(counting(1, 0)));
    EXPECT_THAT(writer->finish().error().message, HasSubstr("lack 1 bytes"));
    EXPECT_FALSE(writer->append(counting(2, 0)));
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

// ---------------------------------------------------------------- shards

void write_shard(const TempFolder& folder, const std::string& name, const std::string& tensor) {
  std::ofstream(folder / name, std::ios::binary)
      << Bytes().safetensors("{\"" + tensor + R"(":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 4).str();
}

TEST(SafetensorsShards, OpenAsOne) {
  const TempFolder folder;
  write_shard(folder, "model-1.safetensors", "a");
  write_shard(folder, "model-2.safetensors", "b");
  const auto index = folder / "model.safetensors.index.json";
  ASSERT_TRUE(write_file(index, R"({"metadata":{"total_size":8},"weight_map":{"b":"model-2.safetensors",)"
                                R"("a":"model-1.safetensors"}})"));
  const auto file = SafetensorsFile::open(index);
  ASSERT_TRUE(file) << file.error().message;
  ASSERT_EQ((*file)->tensors().size(), 2U);
  EXPECT_EQ((*file)->find("b"), 1);
  EXPECT_EQ((*file)->read(1)->data.size(), 4U);
}

TEST(SafetensorsShards, HostileIndexes) {
  const TempFolder folder;
  const auto index = folder / "model.safetensors.index.json";
  write_shard(folder, "1.safetensors", "a");
  write_shard(folder, "2.safetensors", "a");
  ASSERT_TRUE(write_file(folder / "truncated.safetensors", "12345678"));
  const auto error = [&](const std::string& text) {
    EXPECT_TRUE(write_file(index, text));
    const auto file = SafetensorsFile::open(index);
    return file ? "opened" : file.error().message;
  };
  const auto map = [&](const std::string& entries) { return error("{\"weight_map\":{" + entries + "}}"); };
  EXPECT_EQ(map(R"("a":"1.safetensors")"), "opened");
  EXPECT_THAT(map(R"("a":"3.safetensors")"), HasSubstr("shard '3.safetensors', which is absent"));
  EXPECT_THAT(map(R"("x":"1.safetensors")"), HasSubstr("'x' is in '1.safetensors', but it is not there"));
  EXPECT_THAT(map(R"("a":"1.safetensors","b":"2.safetensors")"), HasSubstr("'a' occurs in two shards"));
  EXPECT_THAT(map(R"("a":"truncated.safetensors")"), HasSubstr("truncated.safetensors: header length"));
  for (const char* path :
       {"../1.safetensors", "/etc/passwd", "..", ".", "", "sub/1.safetensors", "a\\\\b", "a\\u0000b"})
    EXPECT_THAT(map(std::string(R"("a":")") + path + "\""), HasSubstr("not a plain file name")) << path;
  EXPECT_THAT(map(R"("a":1)"), HasSubstr("not a string"));
  EXPECT_THAT(map(R"("a":"1.safetensors","a":"1.safetensors")"), HasSubstr("key 'a' occurs twice"));
  for (const char* text :
       {"[]", "{}", "3", R"({"weight_map":[]})", R"({"weight_map":{}})", R"({"weight_map":null})"})
    EXPECT_THAT(error(text), HasSubstr("weight_map")) << text;
  EXPECT_THAT(error(std::string(100'000, '[')), HasSubstr("nested deeper"));
  EXPECT_THAT(error(""), HasSubstr("JSON"));
}

}  // namespace
}  // namespace lissom
