#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "base/file.h"
#include "format/gguf_types.h"
#include "hostile/bytes.h"
#include "lissom/gguf.h"
#include "support/temp_folder.h"

namespace lissom {
namespace {

using hostile::Bytes;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::TempFolder;

auto open(const std::string& bytes) {
  return GgufFile::open_memory(std::as_bytes(std::span(bytes)), "test.gguf");
}

std::vector<std::byte> counting(size_t n, int first) {
  std::vector<std::byte> bytes(n);
  for (size_t i = 0; i < n; ++i) bytes[i] = static_cast<std::byte>(first + static_cast<int>(i));
  return bytes;
}

TEST(Gguf, ReadsEveryKindOfValue) {
  const std::string bytes = hostile::small_gguf();
  const auto file = open(bytes);
  ASSERT_TRUE(file) << file.error().message;
  const GgufMetadata& m = (*file)->metadata();
  EXPECT_EQ(m.entries().size(), 16U);
  EXPECT_EQ(m.string("general.architecture").value(), "llama");
  EXPECT_EQ(m.integer("t.u8").value(), 200);
  EXPECT_EQ(m.integer("t.i8").value(), -128);
  EXPECT_EQ(m.integer("t.u16").value(), 40000);
  EXPECT_EQ(m.integer("t.i16").value(), -2);
  EXPECT_EQ(m.integer("t.i32").value(), -3);
  EXPECT_EQ(m.number("t.f32").value(), 1.5);
  EXPECT_TRUE(m.boolean("t.bool").value());
  EXPECT_EQ(m.integer("t.u64").value(), 1LL << 60);
  EXPECT_EQ(m.integer("t.i64").value(), -5);
  EXPECT_EQ(m.number("t.f64").value(), 2.25);
  EXPECT_EQ(m.number("t.i64").value(), -5.0);
  ASSERT_NE(m.array<std::string>("tokenizer.ggml.tokens"), nullptr);
  EXPECT_THAT(*m.array<std::string>("tokenizer.ggml.tokens"), ElementsAre("a", "", "\xe2\x96\x81x"));
  EXPECT_THAT(*m.array<float>("tokenizer.ggml.scores"), ElementsAre(0.5F, -1.0F));
  EXPECT_EQ(m.array<int32_t>("tokenizer.ggml.scores"), nullptr);
  const auto* nested = m.array<std::shared_ptr<GgufArray>>("t.nested");
  ASSERT_NE(nested, nullptr);
  EXPECT_THAT(std::get<std::vector<bool>>(nested->at(0)->items), ElementsAre(false, true));
  EXPECT_THAT(std::get<std::vector<int32_t>>(nested->at(1)->items), ElementsAre(7));
}

TEST(Gguf, GettersNameTheKey) {
  GgufMetadata m;
  m.set("a", std::string("text"));
  m.set("big", UINT64_MAX);
  EXPECT_THAT(m.integer("absent").error().message, HasSubstr("'absent'"));
  EXPECT_THAT(m.integer("a").error().message, HasSubstr("'a' is not an integer"));
  EXPECT_THAT(m.boolean("a").error().message, HasSubstr("not a boolean"));
  EXPECT_THAT(m.number("a").error().message, HasSubstr("not a number"));
  EXPECT_THAT(m.string("big").error().message, HasSubstr("not a string"));
  EXPECT_THAT(m.integer("big").error().message, HasSubstr("2^63"));
  EXPECT_EQ(m.integer_or("a", 7), 7);
  EXPECT_EQ(m.string_or("big", "x"), "x");
  m.set("a", uint32_t{4});
  EXPECT_EQ(m.entries().front().first, "a");  // replaced in its place
  EXPECT_EQ(m.integer_or("a", 7), 4);
  m.erase("a");
  EXPECT_EQ(m.find("a"), nullptr);
}

TEST(Gguf, MapsTensors) {
  const std::string bytes = hostile::small_gguf();
  const auto file = open(bytes);
  ASSERT_TRUE(file);
  const auto list = (*file)->tensors();
  ASSERT_EQ(list.size(), 4U);
  EXPECT_EQ(list[0].name, "token_embd.weight");
  EXPECT_EQ(list[0].type, "Q8_0");
  EXPECT_EQ(list[0].shape, (Shape{3, 32}));
  EXPECT_EQ(list[0].bytes, 3U * 34);
  EXPECT_EQ(list[2].shape, (Shape{2, 2, 2}));
  EXPECT_EQ(list[3].shape.rank(), 0);
  EXPECT_EQ((*file)->find("scalar"), 3);
  EXPECT_EQ((*file)->find("none"), -1);
  const auto view = (*file)->read(1);
  ASSERT_TRUE(view);
  EXPECT_THAT(std::vector<std::byte>(view->data.begin(), view->data.end()), counting(20, 128));
  EXPECT_EQ((*file)->read(4).error().kind, ErrorKind::bad_input);
}

TEST(Gguf, AllTypesOfGgmlHaveASize) {
  // llama.cpp: block sizes × block bytes, the sum over the table as a guard against slips.
  uint64_t live = 0;
  for (uint32_t number = 0; number < 43; ++number) {
    const GgmlType* type = find_ggml_type(number);
    ASSERT_NE(type, nullptr) << number;
    EXPECT_EQ(type->number, number);
    if (type->block_bytes == 0) {
      EXPECT_EQ(find_ggml_type(type->name), nullptr);
    } else {
      EXPECT_EQ(find_ggml_type(type->name), type);
      ++live;
    }
  }
  EXPECT_EQ(live, 35U);
  EXPECT_EQ(find_ggml_type(43), nullptr);
  EXPECT_EQ(find_ggml_type("Q9_9"), nullptr);
  EXPECT_EQ(ggml_bytes(*find_ggml_type("Q4_K"), Shape{2, 512}).value(), 4U * 144);
  EXPECT_FALSE(ggml_bytes(*find_ggml_type("Q4_K"), Shape{2, 500}));
  EXPECT_FALSE(ggml_bytes(*find_ggml_type("F32"), Shape{1LL << 40, 1LL << 40}));
}

TEST(Gguf, TypesWithoutACodecAreListed) {
  Bytes b;
  b.gguf(1, 0).tensor("x", {256}, 17, 0).pad(32).zeros(74);
  const auto file = open(b.str());
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ((*file)->tensors()[0].type, "IQ2_XS");
}

// ---------------------------------------------------------------- writing

struct Written {
  GgufMetadata metadata;
  std::vector<TensorInfo> directory;
  std::vector<std::vector<std::byte>> data;
};

Written sample() {
  Written w;
  w.metadata.set("general.architecture", std::string("llama"));
  w.metadata.set("x.flag", true);
  w.metadata.set("x.nan", std::nan(""));
  w.metadata.set_array("tokenizer.ggml.tokens", std::vector<std::string>{"a", "b", ""});
  w.metadata.set_array("x.flags", std::vector<bool>{true, false});
  w.metadata.set_array("x.none", std::vector<int64_t>{});
  w.metadata.set_array("x.nested",
                       std::vector{std::make_shared<GgufArray>(GgufArray{std::vector<uint8_t>{1, 2}})});
  w.directory = {
      {"a", "F32", {3, 5}, 60}, {"b", "Q4_0", {2, 32}, 0}, {"c", "Q6_K", {256}, 210}, {"d", "BF16", {7}, 14}};
  w.data = {counting(60, 1), counting(36, 2), counting(210, 3), counting(14, 4)};
  return w;
}

Result<void> write(const std::filesystem::path& path, const Written& w,
                   const GgufWriter::Options& options = {}) {
  LISSOM_TRY(const auto writer, GgufWriter::create(path, w.metadata, w.directory, options));
  for (size_t i = writer->resumed_tensors(); i < w.data.size(); ++i) LISSOM_CHECK(writer->append(w.data[i]));
  return writer->finish();
}

std::string slurp(const std::filesystem::path& path) {
  return read_file(path, 1U << 20U).value();
}

TEST(GgufWriter, WhatIsWrittenReadsBack) {
  const TempFolder folder;
  for (const uint32_t alignment : {8U, 32U, 64U, 4096U}) {
    const Written w = sample();
    const auto written = write(folder / "a.gguf", w, {.alignment = alignment});
    ASSERT_TRUE(written) << written.error().message;
    EXPECT_FALSE(std::filesystem::exists(folder / "a.gguf.partial"));
    const auto file = GgufFile::open(folder / "a.gguf");
    ASSERT_TRUE(file) << file.error().message;
    EXPECT_EQ((*file)->metadata().integer_or("general.alignment", 32), alignment);
    EXPECT_THAT(*(*file)->metadata().array<bool>("x.flags"), ElementsAre(true, false));
    EXPECT_TRUE((*file)->metadata().array<int64_t>("x.none")->empty());
    ASSERT_EQ((*file)->tensors().size(), 4U);
    for (size_t i = 0; i < 4; ++i) {
      const auto view = (*file)->read(i);
      EXPECT_EQ(view->info.type, w.directory[i].type);
      EXPECT_EQ(view->info.shape, w.directory[i].shape);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(view->data.data()) % alignment, 0U);
      EXPECT_EQ(std::vector<std::byte>(view->data.begin(), view->data.end()), w.data[i]);
      (*file)->release(i);
      EXPECT_EQ(std::vector<std::byte>(view->data.begin(), view->data.end()), w.data[i]);  // pages come back
    }
  }
}

TEST(GgufWriter, ChunksOfAnySizeGiveTheSameBytes) {
  const TempFolder folder;
  const Written w = sample();
  ASSERT_TRUE(write(folder / "whole.gguf", w));
  const auto writer = GgufWriter::create(folder / "odd.gguf", w.metadata, w.directory, {});
  ASSERT_TRUE(writer);
  std::vector<std::byte> all;
  for (const auto& d : w.data) all.insert(all.end(), d.begin(), d.end());
  for (size_t at = 0; at < all.size(); at += 37)
    ASSERT_TRUE((*writer)->append(std::span(all).subspan(at, std::min<size_t>(37, all.size() - at))));
  ASSERT_TRUE((*writer)->finish());
  EXPECT_EQ(slurp(folder / "odd.gguf"), slurp(folder / "whole.gguf"));
}

/// Writes the first tensors and a part of the next, then goes away as a cancelled job would.
void abandon(const std::filesystem::path& path, const Written& w, size_t tensors) {
  const auto writer = GgufWriter::create(path, w.metadata, w.directory, {.keep_partial = true});
  ASSERT_TRUE(writer);
  for (size_t i = 0; i < tensors; ++i) ASSERT_TRUE((*writer)->append(w.data[i]));
  ASSERT_TRUE((*writer)->append(std::span(w.data[tensors]).first(w.data[tensors].size() / 2)));
  ASSERT_TRUE((*writer)->flush());
}

TEST(GgufWriter, ResumesToTheSameBytes) {
  const TempFolder folder;
  const Written w = sample();
  ASSERT_TRUE(write(folder / "whole.gguf", w));
  for (size_t done = 0; done < 4; ++done) {
    for (size_t resume = 0; resume <= done; ++resume) {
      abandon(folder / "r.gguf", w, done);
      EXPECT_FALSE(std::filesystem::exists(folder / "r.gguf"));
      const GgufWriter::Options options{.keep_partial = true, .resume_tensors = resume};
      EXPECT_EQ(
          GgufWriter::create(folder / "r.gguf", w.metadata, w.directory, options).value()->resumed_tensors(),
          resume);
      ASSERT_TRUE(write(folder / "r.gguf", w, options));
      EXPECT_EQ(slurp(folder / "r.gguf"), slurp(folder / "whole.gguf"));
      std::filesystem::remove(folder / "r.gguf");
    }
  }
}

TEST(GgufWriter, TheHeaderMayBeWrittenAgain) {
  const TempFolder folder;
  const Written w = sample();
  Written later = sample();
  later.metadata.set("general.architecture", std::string("gpt-2"));  // as long
  const auto complete = [&](size_t resume, const GgufMetadata* rewritten, bool finish) {
    const auto writer =
        GgufWriter::create(folder / "r.gguf", w.metadata, w.directory,
                           {.keep_partial = true, .resume_tensors = resume, .rewritten = rewritten});
    ASSERT_TRUE(writer);
    EXPECT_EQ((*writer)->resumed_tensors(), resume);
    EXPECT_EQ((*writer)->rewrite_header(later.metadata).has_value(), resume == w.data.size());
    for (size_t i = resume; i < w.data.size(); ++i) ASSERT_TRUE((*writer)->append(w.data[i]));
    GgufMetadata longer = later.metadata;
    longer.set("general.architecture", std::string(99, 'x'));
    EXPECT_FALSE((*writer)->rewrite_header(longer));
    ASSERT_TRUE((*writer)->rewrite_header(later.metadata));
    EXPECT_TRUE(!finish || (*writer)->finish());
  };
  complete(0, nullptr, false);  // interrupted before the rename
  complete(4, &later.metadata, true);
  ASSERT_TRUE(write(folder / "whole.gguf", later));
  EXPECT_EQ(slurp(folder / "r.gguf"), slurp(folder / "whole.gguf"));
}

TEST(GgufWriter, StartsAnewWhereThePartialFileIsAnother) {
  const TempFolder folder;
  const Written w = sample();
  Written other = sample();
  other.metadata.set("general.architecture", std::string("qwen"));
  abandon(folder / "r.gguf", other, 2);
  const GgufWriter::Options options{.keep_partial = true, .resume_tensors = 2};
  EXPECT_EQ(GgufWriter::create(folder / "r.gguf", w.metadata, w.directory, options).value()->resumed_tensors(),
            0U);
  ASSERT_TRUE(write(folder / "r.gguf", w, options));
  ASSERT_TRUE(write(folder / "whole.gguf", w));
  EXPECT_EQ(slurp(folder / "r.gguf"), slurp(folder / "whole.gguf"));
  // A partial file that is shorter than claimed.
  abandon(folder / "s.gguf", w, 1);
  EXPECT_EQ(GgufWriter::create(folder / "s.gguf", w.metadata, w.directory, options).value()->resumed_tensors(),
            0U);
  EXPECT_FALSE(GgufWriter::create(folder / "s.gguf", w.metadata, w.directory, {.resume_tensors = 5}));
}

TEST(GgufWriter, LeavesNothingBehindUnlessFinished) {
  const TempFolder folder;
  const Written w = sample();
  {
    const auto writer = GgufWriter::create(folder / "a.gguf", w.metadata, w.directory, {});
    ASSERT_TRUE(writer);
    ASSERT_TRUE((*writer)->append(w.data[0]));
    EXPECT_THAT((*writer)->finish().error().message, HasSubstr("'b' got 0 of its 36 bytes"));
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  {
    const auto writer = GgufWriter::create(folder / "a.gguf", w.metadata, w.directory, {});
    for (const auto& d : w.data) ASSERT_TRUE((*writer)->append(d));
    EXPECT_THAT((*writer)->append(counting(1, 0)).error().message, HasSubstr("more bytes"));
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(GgufWriter, RefusesADirectoryThatReadersWouldRefuse) {
  const TempFolder folder;
  const auto error = [&](const std::vector<TensorInfo>& directory) {
    const auto writer = GgufWriter::create(folder / "a.gguf", {}, directory, {});
    EXPECT_FALSE(writer);
    return writer ? "" : writer.error().message;
  };
  EXPECT_THAT(error({{"", "F32", {1}, 4}}), HasSubstr("1 to 63 bytes"));
  EXPECT_THAT(error({{std::string(64, 'x'), "F32", {1}, 4}}), HasSubstr("1 to 63 bytes"));
  EXPECT_THAT(error({{"a\xff", "F32", {1}, 4}}), HasSubstr("1 to 63 bytes"));
  EXPECT_THAT(error({{"a", "F32", {1}, 4}, {"a", "F32", {1}, 4}}), HasSubstr("twice"));
  EXPECT_THAT(error({{"a", "F8_E4M3", {1}, 1}}), HasSubstr("cannot store type 'F8_E4M3'"));
  EXPECT_THAT(error({{"a", "Q4_0_4_4", {32}, 18}}), HasSubstr("cannot store"));
  EXPECT_THAT(error({{"a", "Q4_K", {576}, 324}}), HasSubstr("multiples of 256"));
  EXPECT_THAT(error({{"a", "F32", {2}, 4}}), HasSubstr("takes 8"));
  EXPECT_THAT(error({{"a", "F32", {1, 1, 1, 1, 1}, 4}}), HasSubstr("more than 4 dimensions"));
  EXPECT_THAT(error({{"a", "F32", {0, 3}, 0}}), HasSubstr("not positive"));
  EXPECT_FALSE(GgufWriter::create(folder / "a.gguf", {}, {}, {.alignment = 24}));
  GgufMetadata twice;
  twice.append("k", uint8_t{1});
  twice.append("k", uint8_t{2});
  EXPECT_FALSE(GgufWriter::create(folder / "a.gguf", twice, {}, {}));
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

// ---------------------------------------------------------------- split models

void write_split(const TempFolder& folder, int no, int count, const std::string& tensor, int total) {
  Bytes b;
  b.gguf(1, 3);
  b.str("split.no").u32(2).put(static_cast<uint16_t>(no));
  b.str("split.count").u32(2).put(static_cast<uint16_t>(count));
  b.str("split.tensors.count").u32(5).put(total);
  b.tensor(tensor, {4}, 24, 0).pad(32).u32(0x01010101U * static_cast<uint32_t>(no + 1));
  const std::string name = "m-0000" + std::to_string(no + 1) + "-of-0000" + std::to_string(count) + ".gguf";
  std::ofstream(folder / name, std::ios::binary) << b.str();
}

TEST(GgufSplit, OpensAsOne) {
  const TempFolder folder;
  for (int no = 0; no < 3; ++no) write_split(folder, no, 3, "t" + std::to_string(no), 3);
  const auto file = GgufFile::open(folder / "m-00001-of-00003.gguf");
  ASSERT_TRUE(file) << file.error().message;
  ASSERT_EQ((*file)->tensors().size(), 3U);
  EXPECT_EQ((*file)->files().size(), 3U);
  EXPECT_EQ((*file)->read(2)->data[0], std::byte{3});
  EXPECT_EQ((*file)->metadata().find("split.no"), nullptr);
}

TEST(GgufSplit, SaysWhatIsWrong) {
  const TempFolder folder;
  const auto error = [&](const std::string& name) {
    const auto file = GgufFile::open(folder / name);
    return file ? "opened" : file.error().message;
  };
  write_split(folder, 0, 2, "t0", 2);
  EXPECT_THAT(error("m-00001-of-00002.gguf"), HasSubstr("m-00002-of-00002.gguf"));  // absent
  write_split(folder, 1, 2, "t0", 2);
  EXPECT_THAT(error("m-00001-of-00002.gguf"), HasSubstr("'t0' occurs in two files"));
  EXPECT_THAT(error("m-00002-of-00002.gguf"), HasSubstr("open the first"));
  write_split(folder, 1, 2, "t1", 3);
  EXPECT_EQ(error("m-00001-of-00002.gguf"), "opened");
  write_split(folder, 0, 2, "t0", 3);
  EXPECT_THAT(error("m-00001-of-00002.gguf"), HasSubstr("split.tensors.count is 3"));
  std::filesystem::copy_file(folder / "m-00001-of-00002.gguf", folder / "other.gguf");
  EXPECT_THAT(error("other.gguf"), HasSubstr("should end in -00001-of-00002.gguf"));
  std::filesystem::copy_file(folder / "m-00001-of-00002.gguf", folder / "m-00002-of-00002.gguf",
                             std::filesystem::copy_options::overwrite_existing);
  EXPECT_THAT(error("m-00001-of-00002.gguf"), HasSubstr("split.no"));
}

}  // namespace
}  // namespace lissom
