#include "format/pack.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>

#include "base/file.h"
#include "codec/parts.h"
#include "format/json.h"
#include "format/safetensors.h"
#include "support/temp_folder.h"

namespace lissom {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

GgufMetadata every_type() {
  GgufMetadata m;
  m.set("general.architecture", std::string("llama"));
  m.set("a.u8", uint8_t{255});
  m.set("a.i8", int8_t{-128});
  m.set("a.u64", UINT64_MAX);
  m.set("a.i64", INT64_MIN);
  m.set("a.f32", 1e-5F);
  m.set("a.f64", 0.1);
  m.set("a.nan", NAN);
  m.set("a.inf", -INFINITY);
  m.set("a.bool", true);
  m.set("a.bytes", std::string("\xff\x00z", 3));
  m.set_array("b.strings", std::vector<std::string>{"a", "\xC4\xA0t", ""});
  m.set_array("b.bytes", std::vector<std::string>{"a", "\x80"});
  m.set_array("b.floats", std::vector<float>{0.25F, -INFINITY});
  m.set_array("b.bools", std::vector<bool>{true, false});
  m.set_array("b.none", std::vector<int32_t>{});
  return m;
}

TEST(PackMetadata, EveryTypeComesBack) {
  const GgufMetadata m = every_type();
  const auto json = metadata_to_json(m);
  ASSERT_TRUE(json) << json.error().message;
  const auto back = metadata_from_json(*json, "there");
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(*metadata_to_json(*back), *json);
  EXPECT_EQ(back->entries().size(), m.entries().size());
  EXPECT_EQ(std::get<float>(*back->find("a.f32")), 1e-5F);
  EXPECT_EQ(std::get<int64_t>(*back->find("a.i64")), INT64_MIN);
  EXPECT_EQ(std::get<std::string>(*back->find("a.bytes")), std::string("\xff\x00z", 3));
  EXPECT_EQ(*back->array<std::string>("b.strings"), *m.array<std::string>("b.strings"));
  EXPECT_EQ(*back->array<std::string>("b.bytes"), *m.array<std::string>("b.bytes"));
  EXPECT_EQ(*back->array<bool>("b.bools"), *m.array<bool>("b.bools"));
  EXPECT_TRUE(back->array<int32_t>("b.none")->empty());
}

TEST(PackMetadata, RefusesWhatHasAnotherType) {
  for (const char* value : {R"({"type":"u8","value":256})",
                            R"({"type":"i8","value":-129})",
                            R"({"type":"i8","value":128})",
                            R"({"type":"u8","value":-1})",
                            R"({"type":"u32","value":1.5})",
                            R"({"type":"str","value":1})",
                            R"({"type":"bool","value":1})",
                            R"({"type":"f32","value":"x"})",
                            R"({"type":"f32","value":1e300})",
                            R"({"type":"hex","value":"abc"})",
                            R"({"type":"hex","value":"zz"})",
                            R"({"type":"[u8]","value":1})",
                            R"({"type":"[u8]","value":[1,"2"]})",
                            R"({"type":"[str]","value":[1]})",
                            R"({"type":"i64","value":18446744073709551615})",
                            R"({"type":"u128","value":1})",
                            R"({"type":1,"value":1})",
                            R"({"value":1})",
                            R"({"type":"u8"})",
                            "1"}) {
    const auto m = metadata_from_json(std::string(R"({"key":)") + value + "}", "there");
    ASSERT_FALSE(m) << value;
    EXPECT_THAT(m.error().message, AllOf(HasSubstr("there"), HasSubstr("key 'key'"))) << value;
  }
  EXPECT_FALSE(metadata_from_json("[]", "there"));
  EXPECT_FALSE(metadata_from_json("{", "there"));
}

/// A pack of three tensors, which a test spoils before it is written.
class Pack : public ::testing::Test {
 protected:
  Pack() {
    const std::vector<TensorInfo> tensors = {{"norm.weight", "F32", Shape{6}, 0},
                                             {"a.weight", "svd_int8_v1:r4", Shape{8, 32}, 0},
                                             {"b.weight", "Q8_0", Shape{2, 64}, 0}};
    GgufMetadata m;
    m.set("general.architecture", std::string("llama"));
    auto writer = PackWriter::create(path(), m, tensors);
    EXPECT_TRUE(writer) << writer.error().message;
    for (size_t i : {size_t{2}, size_t{0}, size_t{1}}) {  // in any order
      std::vector<std::vector<std::byte>> bytes;
      for (const Component& part : find_codec(tensors[i].type)->components(tensors[i].shape))
        bytes.emplace_back(part.bytes, static_cast<std::byte>(bytes.size() + i + 1));
      const Parts parts(bytes.begin(), bytes.end());
      EXPECT_TRUE((*writer)->put(i, parts));
      EXPECT_FALSE((*writer)->put(i, parts)) << "twice";
      EXPECT_FALSE((*writer)->put(i, {}));
    }
    EXPECT_TRUE((*writer)->finish());
    EXPECT_EQ(*pack_file_bytes(m, tensors), std::filesystem::file_size(path()));
  }
  [[nodiscard]] std::filesystem::path path() const { return folder_.path() / "a.safetensors"; }

  /// What opening says after the file's directory and metadata were changed.
  std::string after(
      const std::function<void(std::vector<TensorInfo>&, std::map<std::string, std::string>&)>& change) {
    const auto file = SafetensorsFile::open(path());
    std::vector<TensorInfo> directory((*file)->tensors().begin(), (*file)->tensors().end());
    auto metadata = (*file)->metadata();
    change(directory, metadata);
    const auto spoilt = folder_.path() / "spoilt.safetensors";
    auto writer = SafetensorsWriter::create(spoilt, directory, metadata);
    EXPECT_TRUE(writer) << writer.error().message;
    for (size_t i = 0; i < directory.size(); ++i)
      EXPECT_TRUE((*writer)->append(std::vector<std::byte>(directory[i].bytes)));
    EXPECT_TRUE((*writer)->finish());
    const auto pack = PackFile::open(spoilt);
    if (pack) return "";
    EXPECT_THAT(pack.error().message, HasSubstr("spoilt.safetensors"));
    return pack.error().message;
  }
  std::string after_list(const std::function<void(Json&)>& change) {
    return after([&](auto&, auto& metadata) {
      Json list = Json::parse(metadata["tensors"]);
      change(list);
      metadata["tensors"] = list.dump();
    });
  }
  testing::TempFolder folder_;
};

TEST_F(Pack, ComesBack) {
  const auto pack = PackFile::open(path());
  ASSERT_TRUE(pack) << pack.error().message;
  EXPECT_TRUE(is_pack(path()));
  ASSERT_EQ((*pack)->tensors().size(), 3U);
  EXPECT_EQ(*(*pack)->metadata().string("general.architecture"), "llama");
  const int64_t a = (*pack)->find("a.weight");
  ASSERT_EQ(a, 1);
  const TensorInfo& info = (*pack)->tensors()[1];
  EXPECT_EQ(info.type, "svd_int8_v1:r4");
  EXPECT_EQ(info.shape, (Shape{8, 32}));
  EXPECT_EQ(info.bytes, 4U * (8 + 32 + 4));
  const auto stored = (*pack)->stored(1);
  ASSERT_EQ(stored.size(), 4U);
  EXPECT_EQ(stored[0].name, "a.weight.left");
  EXPECT_EQ(stored[0].type, "I8");
  EXPECT_EQ(stored[3].type, "F16");
  const auto view = (*pack)->read(1);
  ASSERT_TRUE(view);
  const auto parts = parts_of(*find_codec(info.type), info.shape, view->data);
  ASSERT_TRUE(parts) << parts.error().message;
  for (size_t i = 0; i < parts->size(); ++i) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>((*parts)[i].data()) % kPartAlignment, 0U);
    for (const std::byte b : (*parts)[i]) ASSERT_EQ(b, static_cast<std::byte>(i + 2));
  }
  // Blocks have the rows of the matrix; what safetensors has a dtype for is stored as that.
  EXPECT_EQ((*pack)->stored(2)[0].shape, (Shape{2, 68}));
  EXPECT_EQ((*pack)->stored(0)[0].type, "F32");
  EXPECT_EQ((*pack)->find("c.weight"), -1);
}

TEST_F(Pack, OfAnotherVersionIsRefused) {
  EXPECT_EQ(after([](auto&, auto&) {}), "");
  EXPECT_THAT(after([](auto&, auto& m) { m["version"] = "2"; }),
              AllOf(HasSubstr("'version'"), HasSubstr("version 2"), HasSubstr("reads version 1")));
  EXPECT_THAT(after([](auto&, auto& m) { m["version"] = "x"; }), HasSubstr("'version'"));
  EXPECT_THAT(after([](auto&, auto& m) { m["version"] = "99999999999"; }), HasSubstr("'version'"));
  EXPECT_THAT(after([](auto&, auto& m) { m.erase("version"); }), HasSubstr("'version'"));
  EXPECT_THAT(after([](auto&, auto& m) { m["format"] = "pt"; }), HasSubstr("'format'"));
  EXPECT_THAT(after([](auto&, auto& m) { m.clear(); }), HasSubstr("'format'"));
}

TEST_F(Pack, WithBrokenMetadataIsRefused) {
  for (const std::string key : {"gguf", "tensors"}) {
    EXPECT_THAT(after([&](auto&, auto& m) { m.erase(key); }), HasSubstr("'" + key + "' is absent"));
    for (const char* text : {"", "{", "7", "null", "\"x\""})
      EXPECT_THAT(after([&](auto&, auto& m) { m[key] = text; }), HasSubstr("'" + key + "'")) << text;
  }
  EXPECT_THAT(after([](auto&, auto& m) { m["gguf"] = R"({"k":{"type":"u8","value":-1}})"; }),
              HasSubstr("key 'k'"));
}

TEST_F(Pack, WhoseListIsWrongIsRefused) {
  EXPECT_THAT(after_list([](Json& l) { l[1] = 5; }), HasSubstr("'tensors'[1]"));
  EXPECT_THAT(after_list([](Json& l) { l[1].erase("name"); }), HasSubstr("'tensors'[1]"));
  for (const char* field : {"codec", "shape", "parts"})
    EXPECT_THAT(after_list([&](Json& l) { l[1].erase(field); }),
                AllOf(HasSubstr("'a.weight'"), HasSubstr(field)));
  EXPECT_THAT(after_list([](Json& l) { l[1]["codec"] = "svd_int8_v9:r4"; }),
              AllOf(HasSubstr("'a.weight'"), HasSubstr("unknown codec 'svd_int8_v9:r4'")));
  EXPECT_THAT(after_list([](Json& l) { l[1]["codec"] = "svd_int8_v1:r0"; }), HasSubstr("r64 (a rank)"));
  EXPECT_THAT(after_list([](Json& l) { l[1]["name"] = "b.weight"; }), HasSubstr("missing"));
  EXPECT_THAT(after_list([](Json& l) { l.push_back(l[1]); }), HasSubstr("occurs twice"));
  EXPECT_THAT(after_list([](Json& l) { l[1]["parts"][0] = "codes"; }), HasSubstr("'parts'"));
  EXPECT_THAT(after_list([](Json& l) { l[1]["parts"].push_back("more"); }), HasSubstr("'parts'"));
  EXPECT_THAT(after_list([](Json& l) { l.erase(2); }),
              AllOf(HasSubstr("'b.weight'"), HasSubstr("component of no tensor")));
  // A tensor that is a component of another.
  EXPECT_THAT(
      after_list([](Json& l) {
        l.push_back({{"name", "a.weight.left_scale"}, {"codec", "F16"}, {"shape", {4}}, {"parts", {""}}});
      }),
      HasSubstr("component of another tensor"));
}

TEST_F(Pack, OfOtherShapesIsRefused) {
  const std::vector<Json> shapes = {Json::array({8, 64}),
                                    Json::array({8, 33}),
                                    Json::array(),
                                    Json::array({0, 32}),
                                    Json::array({8, -32}),
                                    Json::array({8, 1.5}),
                                    Json::array({1LL << 31, 1LL << 31}),
                                    Json::array({1, 1, 1, 1, 1, 1, 1, 8, 32}),
                                    Json::array({4LL << 60, 32}),
                                    Json("x")};
  for (const Json& shape : shapes)
    EXPECT_THAT(after_list([&](Json& l) { l[1]["shape"] = shape; }), HasSubstr("'a.weight'")) << shape.dump();
}

TEST_F(Pack, WhoseComponentsAreWrongIsRefused) {
  const auto change = [&](const std::string& name, const std::function<void(TensorInfo&)>& how) {
    return after([&](auto& directory, auto&) {
      for (TensorInfo& info : directory)
        if (info.name == name) how(info);
    });
  };
  EXPECT_THAT(change("a.weight.left", [](TensorInfo& t) { t.type = "U8"; }),
              AllOf(HasSubstr("'a.weight.left' is U8 [8, 4], expected I8 [8, 4]")));
  EXPECT_THAT(change("a.weight.right",
                     [](TensorInfo& t) {
                       t.shape = Shape{32, 4};
                     }),
              HasSubstr("'a.weight.right'"));
  EXPECT_THAT(change("a.weight.right",
                     [](TensorInfo& t) {
                       t.shape = Shape{4, 31};
                       t.bytes = 124;
                     }),
              HasSubstr("'a.weight.right'"));
  EXPECT_THAT(change("a.weight.left_scale", [](TensorInfo& t) { t.name = "a.weight.scale"; }),
              HasSubstr("'a.weight.left_scale' is missing"));
  EXPECT_THAT(change("norm.weight", [](TensorInfo& t) { t.type = "I32"; }), HasSubstr("'norm.weight'"));
}

TEST_F(Pack, ThatIsCutOffIsRefused) {
  const std::string bytes = *read_file(path(), 1 << 20);
  for (const size_t n : {size_t{0}, size_t{7}, size_t{100}, bytes.size() - 1}) {
    const auto pack = PackFile::open_memory(std::as_bytes(std::span(bytes.data(), n)), "cut.safetensors");
    ASSERT_FALSE(pack);
    EXPECT_THAT(pack.error().message, HasSubstr("cut.safetensors"));
  }
}

TEST(PackWriter, RefusesWhatNoPackHolds) {
  const testing::TempFolder folder;
  const auto path = folder.path() / "a.safetensors";
  const auto refusal = [&](const TensorInfo& info) {
    const auto writer = PackWriter::create(path, {}, {info});
    return writer ? std::string() : writer.error().message;
  };
  EXPECT_THAT(refusal({"x", "Q9_9", Shape{2, 32}, 0}), AllOf(HasSubstr("'x'"), HasSubstr("unknown codec")));
  EXPECT_THAT(refusal({"x", "Q8_0", Shape{2, 33}, 0}), AllOf(HasSubstr("'x'"), HasSubstr("multiples of 32")));
  EXPECT_THAT(refusal({"x", "Q8_0", Shape{0, 32}, 0}), HasSubstr("'x'"));
  EXPECT_FALSE(std::filesystem::exists(path));
  {
    const auto writer = PackWriter::create(path, {}, {{"x", "F32", Shape{2}, 0}});
    ASSERT_TRUE(writer);
    EXPECT_FALSE((*writer)->finish()) << "tensors are missing";
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

}  // namespace
}  // namespace lissom
