#include "format/quant_method.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "format/packed_words.h"
#include "format/quantized_source.h"

namespace lissom {
namespace {

using ::testing::HasSubstr;

/// Tensors in memory.
class MemorySource : public TensorSource {
 public:
  void add(const std::string& name, const std::string& type, const Shape& shape, std::vector<std::byte> bytes) {
    infos_.push_back({name, type, shape, bytes.size()});
    bytes_.push_back(std::move(bytes));
  }
  void remove(const std::string& name) {
    const int64_t at = find(name);
    ASSERT_GE(at, 0) << name;
    infos_.erase(infos_.begin() + at);
    bytes_.erase(bytes_.begin() + at);
  }
  TensorInfo& info(const std::string& name) { return infos_[static_cast<size_t>(find(name))]; }
  std::vector<std::byte>& bytes(const std::string& name) { return bytes_[static_cast<size_t>(find(name))]; }

  std::span<const TensorInfo> tensors() const override { return infos_; }
  std::string origin() const override { return "folder/model.safetensors"; }
  void release(size_t) const override {}
  Result<TensorView> read(size_t index) const override {
    return TensorView{infos_[index], bytes_[index], nullptr};
  }

 private:
  std::vector<TensorInfo> infos_;
  std::vector<std::vector<std::byte>> bytes_;
};

GroupMatrix random_matrix(const GroupSpec& spec, int64_t rows, int64_t cols) {
  GroupMatrix m = make_group_matrix(spec, rows, cols);
  std::mt19937 random(7);
  const uint32_t codes = spec.element == GroupElement::e4m3 ? 120 : 1U << spec.bits;  // finite ones
  for (uint8_t& c : m.codes) c = static_cast<uint8_t>(random() % codes);
  for (float& s : m.scales)
    s = spec.scale == GroupScale::e8m0 ? std::ldexp(1.0F, static_cast<int>(random() % 9) - 4)
                                       : static_cast<float>(random() % 8 + 8) / 64;
  if (!spec.symmetric)
    for (uint8_t& z : m.zeros) z = static_cast<uint8_t>(1 + random() % ((1U << spec.bits) - 1));
  if (spec.scale == GroupScale::e4m3) m.global_scale = 3.5F;
  return m;
}

/// A layer "a.b" of 64 × 256 as a format writes it, and a plain tensor, with its quantization_config.
struct Written {
  std::unique_ptr<LinearWriter> writer;
  GroupMatrix matrix;
  std::shared_ptr<MemorySource> source = std::make_shared<MemorySource>();
  Json config;
};

Written write(const FolderFormat& format, const std::string& scheme) {
  Written w;
  w.writer = format.writer(scheme, GroupScale::bf16);
  w.matrix = random_matrix(w.writer->spec(), 64, 256);
  w.config = w.writer->config({{"a.b"}, {}});
  const auto parts = w.writer->parts(64, 256);
  auto bytes = w.writer->pack(w.matrix);
  EXPECT_EQ(parts.size(), bytes.size());
  for (size_t i = 0; i < parts.size(); ++i) {
    EXPECT_EQ(parts[i].bytes, bytes[i].size()) << parts[i].name;
    w.source->add("a.b" + parts[i].name, parts[i].type, parts[i].shape, std::move(bytes[i]));
  }
  w.source->add("norm.weight", "BF16", {4}, std::vector<std::byte>(8));
  return w;
}

Written write(const char* format, const std::string& scheme) {
  return write(*find_folder_format(format), scheme);
}

std::string error_of(const Written& w) {
  const auto view = dequantized_view(w.source, w.config);
  if (!view) return view.error().message;
  for (size_t i = 0; i < (*view)->tensors().size(); ++i)
    if (const auto read = (*view)->read(i); !read) return read.error().message;
  return "read";
}

TEST(PackedWords, NumbersFollowEachOtherFromTheLowestBit) {
  const std::vector<uint8_t> four = {1, 2, 3, 4, 5, 6, 7, 8, 15};
  EXPECT_EQ(pack_words(four, 1, 9, 4), (std::vector<uint32_t>{0x87654321U, 0xFU}));
  // The eleventh number of three bits begins in the first word and ends in the second.
  std::vector<uint8_t> three(32, 0);
  three[10] = 5;
  three[31] = 7;
  EXPECT_EQ(pack_words(three, 1, 32, 3), (std::vector<uint32_t>{0x40000000U, 0x1U, 0xE0000000U}));
  for (const int bits : {2, 3, 4, 8}) {
    std::vector<uint8_t> values(5 * 37);
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<uint8_t>(i * 7 % (1U << bits));
    EXPECT_EQ(unpack_words(pack_words(values, 5, 37, bits), 5, 37, bits), values);
  }
}

TEST(QuantMethod, EveryFormatAndSchemeReadsBackWhatItWrote) {
  for (const FolderFormat& format : folder_formats())
    for (const std::string& scheme : format.schemes) {
      SCOPED_TRACE(std::string(format.name) + " " + scheme);
      const Written w = write(format, scheme);
      const auto view = dequantized_view(w.source, w.config);
      ASSERT_TRUE(view) << view.error().message;
      ASSERT_EQ((*view)->tensors().size(), 2U);
      const int64_t at = (*view)->find("a.b.weight");
      ASSERT_GE(at, 0);
      const auto tensor = (*view)->read(static_cast<size_t>(at));
      ASSERT_TRUE(tensor) << tensor.error().message;
      EXPECT_EQ(tensor->info.shape, (Shape{64, 256}));
      std::vector<float> expected(64 * 256);
      for (int64_t r = 0; r < 64; ++r) w.matrix.decode_row(r, expected.data() + r * 256);
      const auto values = typed<float>(*tensor);
      EXPECT_TRUE(std::ranges::equal(values, expected));
      uint64_t bytes = 0;
      for (const TensorInfo& part : w.writer->parts(64, 256)) bytes += part.bytes;
      EXPECT_EQ(stored_bytes(**view, static_cast<size_t>(at)), bytes);
    }
}

TEST(QuantMethod, LayoutsAreThoseOfTheFormats) {
  const auto word = [](const Written& w, const char* name, size_t at) {
    uint32_t value = 0;
    std::memcpy(&value, w.source->bytes(name).data() + 4 * at, 4);
    return value;
  };
  // Symmetric zero points: less one in version 1.
  EXPECT_EQ(word(write("gptq", "w4a16-g128"), "a.b.qzeros", 0), 0x77777777U);
  EXPECT_EQ(word(write("gptq_v2", "w4a16-g128"), "a.b.qzeros", 0), 0x88888888U);
  EXPECT_EQ(word(write("gptq", "w8a16-g128"), "a.b.qzeros", 0), 0x7F7F7F7FU);

  const Written gptq = write("gptq", "w4a16-g128");
  uint32_t first = 0;  // the first eight inputs of output 3
  for (size_t i = 0; i < 8; ++i) first |= static_cast<uint32_t>(gptq.matrix.codes[3 * 256 + i]) << (4 * i);
  EXPECT_EQ(word(gptq, "a.b.qweight", 3), first);

  const Written awq = write("awq", "w4a16-g128-asym");
  first = 0;  // input 0: outputs 0, 2, 4, 6, 1, 3, 5, 7
  for (const size_t out : {7U, 5U, 3U, 1U, 6U, 4U, 2U, 0U}) first = first << 4 | awq.matrix.codes[out * 256];
  EXPECT_EQ(word(awq, "a.b.qweight", 0), first);

  const Written packed = write("compressed-tensors", "w4a16-g128-asym");
  first = 0;
  for (size_t i = 0; i < 8; ++i) first |= static_cast<uint32_t>(packed.matrix.codes[256 + i]) << (4 * i);
  EXPECT_EQ(word(packed, "a.b.weight_packed", 32), first);
  first = 0;  // zero points: eight outputs of group 1
  for (size_t r = 0; r < 8; ++r) first |= static_cast<uint32_t>(packed.matrix.zeros[r * 2 + 1]) << (4 * r);
  EXPECT_EQ(word(packed, "a.b.weight_zero_point", 1), first);
}

TEST(QuantMethod, GroupsInAnotherOrderAreFollowed) {
  Written w = write("gptq", "w4a16-g128");
  std::vector<int32_t> reversed(256);
  for (size_t c = 0; c < 256; ++c) reversed[c] = c < 128 ? 1 : 0;
  w.source->bytes("a.b.g_idx") = bytes_of(reversed);
  w.matrix.group_of = reversed;
  const auto view = dequantized_view(w.source, w.config);
  ASSERT_TRUE(view);
  const auto tensor = (*view)->read(0);
  ASSERT_TRUE(tensor);
  std::vector<float> expected(256);
  w.matrix.decode_row(0, expected.data());
  EXPECT_TRUE(std::ranges::equal(typed<float>(*tensor).first(256), expected));
}

TEST(QuantMethod, UnfitLayersAreNamedInTheConfig) {
  const QuantModules modules{{"model.layers.0.mlp.up_proj"}, {"model.layers.0.mlp.down_proj"}};
  const auto config = [&](const char* format) {
    const FolderFormat& f = *find_folder_format(format);
    return f.writer(f.schemes.front(), GroupScale::f16)->config(modules);
  };
  EXPECT_EQ(config("compressed-tensors")["ignore"], Json({"lm_head", "model.layers.0.mlp.down_proj"}));
  EXPECT_EQ(config("awq")["modules_to_not_convert"], Json({"model.layers.0.mlp.down_proj", "lm_head"}));
  EXPECT_TRUE(config("gptq")["dynamic"].contains("-:^model\\.layers\\.0\\.mlp\\.down_proj$"));
  EXPECT_EQ(config("gptq")["modules_in_block_to_quantize"], Json::parse(R"([["mlp.up_proj"]])"));
  for (const FolderFormat& format : folder_formats())
    EXPECT_NE(format.writer(format.schemes.front(), GroupScale::f16)->unfit(64, 100), "") << format.name;
}

TEST(QuantMethod, BadConfigsAreRefusedByField) {
  const auto refused = [](const char* json, const char* what) {
    const auto reader = read_quantization_config(Json::parse(json));
    ASSERT_FALSE(reader) << json;
    EXPECT_THAT(reader.error().message, HasSubstr(what)) << json;
  };
  refused("[]", "is not an object");
  refused("{}", "field 'quant_method'");
  refused(R"({"quant_method": "exl7"})", "'exl7' is not read here");
  refused(R"({"quant_method": 4})", "field 'quant_method': is not a text");
  refused(R"({"quant_method": "gptq"})", "field 'bits': is missing");
  refused(R"({"quant_method": "gptq", "bits": 5, "group_size": 128})", "field 'bits': is 5");
  refused(R"({"quant_method": "gptq", "bits": "4", "group_size": 128})", "field 'bits': is not a whole number");
  refused(R"({"quant_method": "gptq", "bits": 4, "group_size": 0})", "field 'group_size'");
  refused(R"({"quant_method": "gptq", "bits": 4, "group_size": 18446744073709551615})", "field 'group_size'");
  refused(R"({"quant_method": "gptq", "bits": 4, "group_size": 128, "checkpoint_format": "marlin"})",
          "'marlin'");
  refused(R"({"quant_method": "awq", "bits": 8, "group_size": 128})", "field 'bits': is 8");
  refused(R"({"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemv"})", "'gemv'");
  refused(R"({"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": false})",
          "field 'zero_point'");
  refused(R"({"quant_method": "compressed-tensors"})", "field 'config_groups'");
  refused(R"({"quant_method": "compressed-tensors", "config_groups": {"g": {}}})", "config_groups.g.weights");
  refused(R"({"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {}}}})",
          "config_groups.g.weights.num_bits': is missing");
  refused(R"({"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": 4,
              "strategy": "group"}}}})",
          "config_groups.g.weights.group_size': is missing");
  refused(R"({"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": 6,
              "type": "float"}}}})",
          "floats of 6 bits");
  refused(R"({"quant_method": "compressed-tensors", "sparsity_config": {"format": "sparse-bitmask"},
              "config_groups": {"g": {"weights": {"num_bits": 4, "group_size": 32}}}})",
          "field 'sparsity_config'");
}

// Every part of every format: absent, of another type, of another shape.
TEST(QuantMethod, BadTensorsAreRefusedByName) {
  for (const FolderFormat& format : folder_formats())
    for (const std::string& scheme : format.schemes) {
      const auto parts = write(format, scheme).writer->parts(64, 256);
      for (const TensorInfo& part : parts) {
        SCOPED_TRACE(std::string(format.name) + " " + scheme + part.name);
        const std::string name = "a.b" + part.name;
        Written w = write(format, scheme);
        if (part.name != ".g_idx") {  // older files have none
          w.source->remove(name);
          EXPECT_THAT(error_of(w), HasSubstr("folder/model.safetensors")) << "absent";
        }
        w = write(format, scheme);
        w.source->info(name).type = "C64";
        EXPECT_THAT(error_of(w), HasSubstr("folder/model.safetensors")) << "type";
        w = write(format, scheme);
        if (part.name != ".weight") {  // whole rows have a scale whatever their length
          Shape& shape = w.source->info(name).shape;
          shape = shape.rank() == 2 ? Shape{shape[0], shape[1] * 3} : Shape{shape[0] * 3};
          w.source->bytes(name).resize(w.source->bytes(name).size() * 3);
          EXPECT_THAT(error_of(w), HasSubstr("folder/model.safetensors")) << "shape";
        }
        w = write(format, scheme);
        w.source->info(name).shape = Shape{0, 0};
        EXPECT_THAT(error_of(w), HasSubstr("folder/model.safetensors")) << "empty";
      }
    }
}

TEST(QuantMethod, WrongGroupSizesAndIndicesAreRefused) {
  Written w = write("gptq", "w4a16-g128");
  w.config["group_size"] = 64;
  EXPECT_THAT(error_of(w), HasSubstr("'a.b.qzeros' has shape [2, 8], expected [4, 8]"));
  w = write("gptq", "w4a16-g128");
  std::vector<int32_t> index(256, 0);
  index[9] = 2;
  w.source->bytes("a.b.g_idx") = bytes_of(index);
  EXPECT_THAT(error_of(w), HasSubstr("column 9 is in group 2, but there are 2"));
  w = write("awq", "w4a16-g64-asym");
  w.config["group_size"] = 128;
  EXPECT_THAT(error_of(w), HasSubstr("a.b.qzeros"));
  w = write("compressed-tensors", "w4a16-g128");
  w.config["config_groups"]["group_0"]["weights"]["group_size"] = 64;
  EXPECT_THAT(error_of(w), HasSubstr("do not fit field 'config_groups': group_size 64"));
  w = write("compressed-tensors", "w4a16-g128");
  w.config["config_groups"]["group_0"]["weights"]["group_size"] = 16777216;
  EXPECT_THAT(error_of(w), HasSubstr("config_groups"));
  w = write("compressed-tensors", "w4a16-g128");
  w.source->bytes("a.b.weight_shape") = bytes_of(std::vector<int64_t>{64, -1});
  EXPECT_THAT(error_of(w), HasSubstr("says [64, -1]"));
  w = write("compressed-tensors", "w8a8");
  w.config["config_groups"]["group_0"]["weights"]["type"] = "float";
  EXPECT_THAT(error_of(w), HasSubstr("'config_groups' says nothing"));
}

TEST(QuantMethod, AConfigWithoutQuantizedLayersIsRefused) {
  Written w = write("gptq", "w4a16-g128");
  w.source = std::make_shared<MemorySource>();
  w.source->add("norm.weight", "BF16", {4}, std::vector<std::byte>(8));
  EXPECT_THAT(error_of(w), HasSubstr("no layer is quantized so"));
}

// One scale for all, and one for each block of 128 × 128, as other writers have them.
TEST(QuantMethod, ScalesOfTensorsAndBlocksAreRead) {
  Written w = write("compressed-tensors", "fp8");
  w.source->info("a.b.weight_scale") = {"a.b.weight_scale", "F32", {1}, 4};
  w.source->bytes("a.b.weight_scale") = bytes_of(std::vector<float>{0.5F});
  w.matrix.scales.assign(w.matrix.scales.size(), 0.5F);
  const auto check = [&] {
    const auto view = dequantized_view(w.source, w.config);
    ASSERT_TRUE(view) << view.error().message;
    const auto tensor = (*view)->read(0);
    ASSERT_TRUE(tensor) << tensor.error().message;
    std::vector<float> expected(256);
    w.matrix.decode_row(63, expected.data());
    EXPECT_TRUE(std::ranges::equal(typed<float>(*tensor).last(256), expected));
  };
  check();
  w.source->info("a.b.weight_scale") = {"a.b.weight_scale", "F32", {1, 2}, 8};
  w.source->bytes("a.b.weight_scale") = bytes_of(std::vector<float>{0.5F, 0.25F});
  w.matrix.spec.group = 128;
  w.matrix.scales.resize(128);
  for (size_t i = 0; i < 128; ++i) w.matrix.scales[i] = i % 2 == 0 ? 0.5F : 0.25F;
  w.config["config_groups"]["group_0"]["weights"]["strategy"] = "block";
  check();
}

}  // namespace
}  // namespace lissom
