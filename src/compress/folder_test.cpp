#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "base/file.h"
#include "compress/testing.h"
#include "format/hf.h"
#include "format/hf_writer.h"
#include "format/json.h"
#include "format/quant_method.h"
#include "format/quantized_source.h"
#include "lissom/compress.h"
#include "support/temp_folder.h"

namespace lissom {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class FolderTest : public ::testing::Test {
 protected:
  static Checkpoint golden(const std::string& name) {
    auto opened = open_checkpoint((fs::path(LISSOM_SOURCE_DIR) / "tests/golden" / name).string());
    EXPECT_TRUE(opened) << opened.error().message;
    return opened ? std::move(*opened) : Checkpoint{};
  }
  static std::vector<float> values_of(const Checkpoint& c, const std::string& name) {
    const int64_t at = c.tensors->find(name);
    EXPECT_GE(at, 0) << name;
    const auto view = c.tensors->read(static_cast<size_t>(at));
    EXPECT_TRUE(view) << name;
    std::vector<float> values(static_cast<size_t>(view->info.shape.elements()));
    const std::span<const std::byte> parts[] = {view->data};
    find_codec(view->info.type)
        ->decode_rows(view->info.shape, parts, 0, view->info.shape.rows(), values.data());
    return values;
  }
  static double relative(const std::vector<float>& a, const std::vector<float>& b) {
    double error = 0, power = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      error += (a[i] - b[i]) * (a[i] - b[i]);
      power += a[i] * a[i];
    }
    return power > 0 ? std::sqrt(error / power) : std::sqrt(error);
  }
  std::string refusal(const Checkpoint& c, const FolderOptions& options, const fs::path& out) const {
    const auto done = compress_to_folder(c, out, options, {});
    return done ? "accepted" : done.error().message;
  }
  static std::map<std::string, std::string> files(const fs::path& folder) {
    std::map<std::string, std::string> all;
    for (const auto& file : fs::directory_iterator(folder))
      all[file.path().filename().string()] = *read_file(file.path(), 1U << 30);
    return all;
  }
  testing::TempFolder dir_;
};

/// Every weight of every layer, whatever transform lies between the folder and the canonical tensor.
TEST_F(FolderTest, EveryArchitectureReadsBackCloseToItsSource) {
  for (const char* name : {"llama", "llama_bias", "llama_llama3", "mistral", "qwen2", "qwen3", "gemma2",
                           "gemma3", "olmo2", "phi3", "phi3_long", "starcoder2", "gpt_neox", "gpt_neo"}) {
    SCOPED_TRACE(name);
    const Checkpoint source = golden(name);
    const fs::path out = dir_ / name;
    const auto result =
        compress_to_folder(source, out, {.format = "compressed-tensors", .scheme = "w4a16-g32"}, {});
    ASSERT_TRUE(result) << result.error().message;
    const auto written = open_checkpoint(out.string());
    ASSERT_TRUE(written) << written.error().message;
    ASSERT_EQ(written->tensors->tensors().size(), source.tensors->tensors().size());
    int64_t quantized = 0;
    for (const TensorReport& report : result->tensors) {
      const double error = relative(values_of(source, report.tensor), values_of(*written, report.tensor));
      const bool is_quantized = report.codec == "INT4 g32";
      quantized += is_quantized ? 1 : 0;
      EXPECT_LT(error, is_quantized ? 0.13 : 0.0005) << report.tensor;
      EXPECT_GT(error, is_quantized ? 0.04 : -1.0) << report.tensor;
      EXPECT_NEAR(error, report.relative_error, is_quantized ? 0.01 : 5e-4) << report.tensor;
    }
    EXPECT_GE(quantized, 4 * source.config.layers);
  }
}

TEST_F(FolderTest, EveryFormatAndSchemeThatFitsReadsBack) {
  const Checkpoint source = golden("llama");
  for (const FolderFormat& format : folder_formats())
    for (const std::string& scheme : format.schemes) {
      SCOPED_TRACE(std::string(format.name) + " " + scheme);
      const FolderOptions options{.format = std::string(format.name), .scheme = scheme, .threads = 2};
      const fs::path out = dir_ / (options.format + scheme);
      if (scheme.find("-g128") != std::string::npos) {
        EXPECT_THAT(refusal(source, options, out), HasSubstr("no layer of this model can be held"));
        EXPECT_FALSE(fs::exists(out));
        continue;
      }
      const auto result = compress_to_folder(source, out, options, {});
      ASSERT_TRUE(result) << result.error().message;
      const auto written = open_checkpoint(out.string());
      ASSERT_TRUE(written) << written.error().message;
      for (const TensorReport& report : result->tensors)
        EXPECT_NEAR(relative(values_of(source, report.tensor), values_of(*written, report.tensor)),
                    report.relative_error, 1e-3)
            << report.tensor;
    }
}

TEST_F(FolderTest, WhatDoesNotFitStaysAndIsSaid) {
  const Checkpoint source = golden("llama");  // 32 wide, ff 64
  const auto result = compress_to_folder(source, dir_ / "out", {.format = "gptq", .scheme = "w4a16-g64"}, {});
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_THAT(result->warnings,
              ::testing::Contains(HasSubstr("model.layers.0.self_attn.q_proj stays F16: its 32 columns")));
  const auto config = read_json(dir_ / "out/config.json");
  ASSERT_TRUE(config);
  EXPECT_EQ((*config)["quantization_config"]["modules_in_block_to_quantize"],
            Json::parse(R"([["mlp.down_proj"]])"));
  EXPECT_EQ((*config)["dtype"], "float16");
  const auto raw = open_hf_weights(dir_ / "out");
  ASSERT_TRUE(raw);
  EXPECT_GE((*raw)->find("model.layers.1.mlp.down_proj.qweight"), 0);
  EXPECT_GE((*raw)->find("model.layers.1.mlp.up_proj.weight"), 0);
}

TEST_F(FolderTest, ThreadsChangeNoByteAndFilesAreCarried) {
  const Checkpoint source = golden("llama");
  for (const char* out : {"one", "three"}) {
    FolderOptions options{.format = "awq", .scheme = "w4a16-g32-asym", .threads = out[0] == 'o' ? 1 : 3};
    options.source_digest = "sha256:0";
    ASSERT_TRUE(compress_to_folder(source, dir_ / out, options, {}));
  }
  const auto written = files(dir_ / "one");
  EXPECT_EQ(written, files(dir_ / "three"));
  for (const char* name : {"tokenizer.json", "tokenizer_config.json"})
    EXPECT_EQ(written.at(name), *read_file(source.path / name, 1U << 30)) << name;
  EXPECT_EQ(written.size(), 4U);  // and no .partial
}

TEST_F(FolderTest, ShardsAreReadAsOne) {
  const Checkpoint source = golden("llama");
  FolderOptions options{.format = "compressed-tensors", .scheme = "nvfp4a16"};
  options.shard_bytes = 4000;
  ASSERT_TRUE(compress_to_folder(source, dir_ / "shards", options, {}));
  EXPECT_TRUE(fs::exists(dir_ / "shards/model.safetensors.index.json"));
  options.shard_bytes = 1 << 30;
  ASSERT_TRUE(compress_to_folder(source, dir_ / "whole", options, {}));
  const auto shards = open_checkpoint((dir_ / "shards").string()),
             whole = open_checkpoint((dir_ / "whole").string());
  ASSERT_TRUE(shards) << shards.error().message;
  ASSERT_TRUE(whole);
  for (const TensorInfo& info : whole->tensors->tensors())
    EXPECT_EQ(values_of(*shards, info.name), values_of(*whole, info.name)) << info.name;
}

// Loaders that join q, k and v, or gate and up, take one global scale for all.
TEST_F(FolderTest, JoinedLayersShareTheirGlobalScale) {
  const Checkpoint source = golden("llama");
  ASSERT_TRUE(
      compress_to_folder(source, dir_ / "out", {.format = "compressed-tensors", .scheme = "nvfp4a16"}, {}));
  const auto raw = open_hf_weights(dir_ / "out");
  ASSERT_TRUE(raw);
  const auto scale = [&](const std::string& module) {
    const int64_t at = (*raw)->find("model.layers.0." + module + ".weight_global_scale");
    EXPECT_GE(at, 0) << module;
    return float_values(*(*raw)->read(static_cast<size_t>(at)))[0];
  };
  EXPECT_EQ(scale("self_attn.q_proj"), scale("self_attn.k_proj"));
  EXPECT_EQ(scale("self_attn.q_proj"), scale("self_attn.v_proj"));
  EXPECT_EQ(scale("mlp.gate_proj"), scale("mlp.up_proj"));
  EXPECT_NE(scale("mlp.gate_proj"), scale("mlp.down_proj"));
}

TEST_F(FolderTest, ImportanceLowersTheWeightedError) {
  const Checkpoint source = golden("llama");
  Importance importance;
  for (const TensorInfo& info : source.tensors->tensors())
    if (info.shape.rank() == 2 && info.name.starts_with("blk.")) {
      std::vector<float> sums;
      for (int64_t c = 0; c < info.shape.cols(); ++c) sums.push_back(c % 7 == 0 ? 100.0F : 1.0F);
      importance.entries[info.name] = {sums, 1};
    }
  const auto plain = compress_to_folder(source, dir_ / "plain", {.format = "gptq", .scheme = "w4a16-g32"}, {});
  const auto weighted = compress_to_folder(
      source, dir_ / "weighted", {.format = "gptq", .scheme = "w4a16-g32", .importance = importance}, {});
  ASSERT_TRUE(plain && weighted);
  for (size_t i = 0; i < plain->tensors.size(); ++i)
    if (weighted->tensors[i].codec == "INT4 g32") {
      EXPECT_LT(weighted->tensors[i].weighted_relative_error, 0.9 * plain->tensors[i].relative_error);
    }
}

TEST_F(FolderTest, WhatHasNoSuchFormIsRefused) {
  const auto refused = [&](const char* model, const FolderOptions& options, const char* why) {
    EXPECT_THAT(refusal(golden(model), options, dir_ / "refused"), HasSubstr(why)) << model;
    EXPECT_FALSE(fs::exists(dir_ / "refused")) << model;
    EXPECT_FALSE(fs::exists(dir_ / "refused.partial")) << model;
  };
  refused("mixtral", {.format = "awq"}, "a mixture of experts");
  refused("gpt2", {.format = "gptq"}, "Conv1D");
  refused("bert", {.format = "gptq"}, "predicts no next token");
  refused("llama", {.format = "exl7"}, "'exl7' is not known");
  refused("llama", {.format = "awq", .scheme = "w4a16-g128"}, "awq has no scheme 'w4a16-g128'; there are");
  fs::create_directories(dir_ / "there");
  ASSERT_TRUE(write_file(dir_ / "there/file", "x"));
  EXPECT_THAT(refusal(golden("llama"), {.format = "gptq", .scheme = "w4a16-g32"}, dir_ / "there"),
              HasSubstr("is not empty"));
}

TEST_F(FolderTest, ABadWeightLeavesNothingBehind) {
  Checkpoint source = golden("llama");
  auto broken = std::make_shared<testing::MemorySource>();
  for (const TensorInfo& info : source.tensors->tensors()) {
    std::vector<float> values = values_of(source, info.name);
    if (info.name == "blk.1.ffn_down.weight") values[3] = NAN;
    broken->add(info.name, info.shape, values);
  }
  source.tensors = broken;
  EXPECT_THAT(refusal(source, {.format = "gptq", .scheme = "w4a16-g32"}, dir_ / "out"),
              HasSubstr("'blk.1.ffn_down.weight' holds NaN or Inf"));
  EXPECT_TRUE(fs::is_empty(dir_.path()));
}

}  // namespace
}  // namespace lissom
