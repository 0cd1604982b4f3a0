#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <map>

#include "base/file.h"
#include "lissom/gguf.h"
#include "lissom/model.h"
#include "model/arch.h"
#include "model/canonical_source.h"
#include "model/fields.h"
#include "support/temp_folder.h"

namespace lissom {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::TempFolder;

Json llama_config() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"hidden_size", 32},
          {"intermediate_size", 64},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"vocab_size", 100},
          {"max_position_embeddings", 128}};
}

std::string error_of(const Json& json) {
  const Architecture* arch = nullptr;
  const auto config = read_hf_config(json, arch);
  return config ? "read" : config.error().message;
}

Config config_of(const Json& json) {
  const Architecture* arch = nullptr;
  return *read_hf_config(json, arch);
}

TEST(HfConfig, EveryBadFieldIsNamed) {
  EXPECT_EQ(error_of(llama_config()), "read");
  const Json lists = Json::array({1, 2});
  for (const char* key :
       {"hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size"}) {
    Json json = llama_config();
    json.erase(key);
    EXPECT_THAT(error_of(json), AllOf(HasSubstr("config.json"), HasSubstr(key), HasSubstr("missing")));
    for (const Json& bad :
         {Json(0), Json(-1), Json(int64_t{1} << 40), Json(UINT64_MAX), Json(1.5), Json("64"), lists}) {
      json[key] = bad;
      EXPECT_THAT(error_of(json), AllOf(HasSubstr("config.json"), HasSubstr(key))) << bad;
    }
  }
}

TEST(HfConfig, HeadsMustDivide) {
  Json json = llama_config();
  json["num_attention_heads"] = 5;
  EXPECT_THAT(error_of(json), HasSubstr("does not divide"));
  json = llama_config();
  json["num_key_value_heads"] = 3;
  EXPECT_THAT(error_of(json), HasSubstr("does not divide"));
  json = llama_config();
  json["head_dim"] = 7;
  EXPECT_THAT(error_of(json), HasSubstr("even"));
}

TEST(HfConfig, WhatIsNotSupportedSaysSo) {
  const std::pair<const char*, Json> odd[] = {
      {"rope_scaling", {{"type", "dynamic"}, {"factor", 2.0}}},
      {"hidden_act", "quick_gelu"},
  };
  for (const auto& [key, value] : odd) {
    Json json = llama_config();
    json[key] = value;
    EXPECT_THAT(error_of(json), HasSubstr("config.json")) << key;
    EXPECT_NE(error_of(json), "read") << key;
  }
}

TEST(HfConfig, UnknownArchitectureNamesTheNearest) {
  Json json = llama_config();
  json["architectures"] = {"Qwen4ForCausalLM"};
  EXPECT_THAT(error_of(json), AllOf(HasSubstr("'Qwen4ForCausalLM'"), HasSubstr("ForCausalLM'"),
                                    HasSubstr("docs/architectures.md")));
  json["architectures"] = {std::string(100000, 'x')};
  EXPECT_LT(error_of(json).size(), 500U);
}

TEST(HfConfig, OldAndNewRopeAgree) {
  Json old_style = llama_config(), new_style = llama_config();
  old_style["rope_theta"] = 500000.0;
  old_style["rope_scaling"] = {{"rope_type", "llama3"},
                               {"factor", 8.0},
                               {"low_freq_factor", 1.0},
                               {"high_freq_factor", 4.0},
                               {"original_max_position_embeddings", 64}};
  new_style["rope_parameters"] = old_style["rope_scaling"];
  new_style["rope_parameters"]["rope_theta"] = 500000.0;
  const Rope a = config_of(old_style).rope, b = config_of(new_style).rope;
  EXPECT_EQ(a.base, 500000.0F);
  EXPECT_EQ(a.base, b.base);
  EXPECT_EQ(a.scaling, RopeScaling::llama3);
  EXPECT_EQ(b.scaling, RopeScaling::llama3);
  EXPECT_EQ(llama3_divisors(a), llama3_divisors(b));
  EXPECT_EQ(llama3_divisors(a).front(), 1.0F);
  EXPECT_EQ(llama3_divisors(a).back(), 8.0F);
}

TEST(Transforms, TheWayBackUndoes) {
  std::vector<std::byte> in(24 * 5 * 4), there(in.size()), back(in.size());
  for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<std::byte>(i * 7);
  transform_bytes(HfTransform::transpose, {24, 5}, 0, true, 4, in.data(), there.data());
  transform_bytes(HfTransform::transpose, {5, 24}, 0, false, 4, there.data(), back.data());
  EXPECT_EQ(in, back);
  EXPECT_NE(in, there);
  transform_bytes(HfTransform::permute_rope, {24, 5}, 3, true, 4, in.data(), there.data());
  transform_bytes(HfTransform::permute_rope, {24, 5}, 3, false, 4, there.data(), back.data());
  EXPECT_EQ(in, back);
  EXPECT_NE(in, there);
  // Row 1 of the first head (8 rows: two halves of four) is the second half's first row.
  EXPECT_EQ(std::memcmp(there.data() + 20, in.data() + 4 * 20, 20), 0);
}

TEST(Transforms, FusedHeadsComeApart) {
  // Two heads of two rows: q0 q0 k0 k0 v0 v0 q1 …
  const std::vector<float> hf{0, 1, 10, 11, 20, 21, 2, 3, 12, 13, 22, 23};
  std::vector<float> canonical(hf.size());
  transform_bytes(HfTransform::heads_qkv, {12}, 2, true, 4, std::as_bytes(std::span(hf)).data(),
                  std::as_writable_bytes(std::span(canonical)).data());
  EXPECT_EQ(canonical, (std::vector<float>{0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23}));
  Weight w{"qkv", {12}, WeightRole::bias, {"hf"}, HfTransform::heads_qkv, 2};
  EXPECT_EQ(hf_values(w, 0, canonical), hf);
}

TEST(Transforms, PartsAndShapesOfWhatHuggingFaceHas) {
  Weight experts{"e", {2, 3, 4}, WeightRole::linear, {"a", "b"}, HfTransform::concat_rows};
  ASSERT_EQ(hf_tensors(experts).size(), 2U);
  EXPECT_EQ(hf_tensors(experts)[1].shape, (Shape{3, 4}));
  std::vector<float> values(24);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  EXPECT_EQ(hf_values(experts, 1, values).front(), 12.0F);
  Weight scaled{"s", {4}, WeightRole::linear, {"a", "b"}, HfTransform::concat_rows};
  scaled.factors = {2.0F, 1.0F};
  const std::vector<float> four{2, 4, 5, 6};
  EXPECT_EQ(hf_values(scaled, 0, four), (std::vector<float>{1, 2}));
  EXPECT_EQ(hf_values(scaled, 1, four), (std::vector<float>{5, 6}));
  Weight positions{"p", {2, 2}, WeightRole::position, {"a"}, HfTransform::drop_rows};
  positions.first_row = 1;
  EXPECT_EQ(hf_tensors(positions)[0].shape, (Shape{3, 2}));
  EXPECT_EQ(hf_values(positions, 0, four), (std::vector<float>{0, 0, 2, 4, 5, 6}));
  Weight norm{"n", {4}, WeightRole::norm, {"a"}, HfTransform::add_one};
  EXPECT_EQ(hf_values(norm, 0, four), (std::vector<float>{1, 3, 4, 5}));
  EXPECT_TRUE(hf_tensors({"z", {4}, WeightRole::bias, {}, HfTransform::zeros}).empty());
}

/// The configuration of a golden model, with one field changed.
std::string golden_error(const std::string& name, const std::string& key, const Json& value) {
  Json json = *read_json(fs::path(LISSOM_SOURCE_DIR) / "tests/golden" / name / "config.json");
  json[key] = value;
  return error_of(json);
}

TEST(HfConfig, EveryFamilyRefusesWhatItDoesNotKnow) {
  struct Case {
    const char *model, *key, *value;
  };
  const Case cases[] = {
      {"gemma2", "layer_types", R"(["full_attention"])"},
      {"gemma2", "layer_types", R"(["full_attention", "chunked_attention"])"},
      {"gemma2", "use_bidirectional_attention", "true"},
      {"gemma3", "query_pre_attn_scalar", "-1"},
      {"gemma3", "sliding_window", R"("many")"},
      {"phi3_long", "rope_parameters", R"({"rope_type": "longrope", "short_factor": [1.0]})"},
      {"phi3", "rope_parameters", R"({"partial_rotary_factor": 0.4})"},
      {"gpt_neo", "attention_types", R"([[["global"], 1]])"},
      {"gpt_neo", "attention_types", R"([[["global", "near"], 1]])"},
      {"gpt_neo", "attention_types", R"([[["global"], 1000000000]])"},
      {"gpt_neox", "hidden_act", R"("snake")"},
      {"mixtral", "num_local_experts", "0"},
      {"mixtral", "num_experts_per_tok", "5"},
      {"qwen3_moe", "decoder_sparse_step", "2"},
      {"qwen3_moe", "mlp_only_layers", "[0]"},
      {"dots1", "n_group", "3"},
      {"dots1", "first_k_dense_replace", "3"},
      {"roberta", "max_position_embeddings", "2"},
      {"albert", "num_hidden_groups", "3"},
      {"albert", "inner_group_num", "2"},
      {"deberta", "conv_kernel_size", "3"},
      {"deberta", "pos_att_type", R"("c2p")"},
      {"deberta", "position_buckets", "1000"},
  };
  // The field in fault may be one inside the one that was changed.
  const std::map<std::string, const char*> inside = {{"phi3_long", "short_factor"},
                                                     {"phi3", "partial_rotary_factor"}};
  for (const Case& c : cases) {
    const auto deeper = inside.find(c.model);
    EXPECT_THAT(golden_error(c.model, c.key, Json::parse(c.value)),
                AllOf(HasSubstr("config.json"), HasSubstr(deeper == inside.end() ? c.key : deeper->second)))
        << c.model << ", " << c.value;
  }
}

TEST(GgufForm, IsRefusedWhereLlamaCppWouldComputeSomethingElse) {
  for (const auto& [name, reason] : {std::pair{"gemma2_scalar", "query_pre_attn_scalar"},
                                     std::pair{"gpt_neo_local", "window of its local layers (8)"},
                                     std::pair{"qwen3_moe_raw", "norm_topk_prob"}}) {
    const TempFolder folder;
    OpenOptions options;
    options.need_tokenizer = false;
    const auto checkpoint =
        open_checkpoint((fs::path(LISSOM_SOURCE_DIR) / "tests/golden" / name).string(), options);
    ASSERT_TRUE(checkpoint) << checkpoint.error().message;
    const auto done = convert(*checkpoint, folder / "m.gguf", {}, {});
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().kind, ErrorKind::unsupported);
    EXPECT_THAT(done.error().message, HasSubstr(reason));
    EXPECT_FALSE(fs::exists(folder / "m.gguf"));
  }
}

/// A golden model's folder, copied so that a test can spoil it.
class SpoiledModel : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::copy(fs::path(LISSOM_SOURCE_DIR) / "tests/golden/llama", folder_ / "llama");
    fs::permissions(folder_ / "llama/model.safetensors", fs::perms::owner_all);
  }
  std::string open_error() {
    const auto opened = open_checkpoint((folder_ / "llama").string());
    return opened ? "opened" : opened.error().message;
  }
  void set(const char* key, const Json& value) {
    Json json = *read_json(folder_ / "llama/config.json");
    json[key] = value;
    ASSERT_TRUE(write_file(folder_ / "llama/config.json", json.dump()));
  }
  TempFolder folder_;
};

TEST_F(SpoiledModel, Opens) {
  EXPECT_EQ(open_error(), "opened");
}

TEST_F(SpoiledModel, ShapesAgainstTheConfiguration) {
  set("intermediate_size", 96);
  EXPECT_THAT(open_error(), AllOf(HasSubstr("model.safetensors"), HasSubstr("mlp.gate_proj"),
                                  HasSubstr("[64, 32]"), HasSubstr("[96, 32]")));
}

TEST_F(SpoiledModel, MissingTensors) {
  set("num_hidden_layers", 3);
  EXPECT_THAT(open_error(), AllOf(HasSubstr("layers.2."), HasSubstr("missing")));
}

TEST_F(SpoiledModel, NothingIsLeftOutSilently) {
  set("num_hidden_layers", 1);
  EXPECT_THAT(open_error(), AllOf(HasSubstr("layers.1."), HasSubstr("no place")));
}

TEST_F(SpoiledModel, ConvertRefusesItsInputAndFullFolders) {
  const auto checkpoint = *open_checkpoint((folder_ / "llama").string());
  const auto onto_itself = convert(checkpoint, folder_ / "llama", {}, {});
  ASSERT_FALSE(onto_itself);
  EXPECT_THAT(onto_itself.error().message, HasSubstr("is the input"));
  fs::create_directory(folder_ / "full");
  ASSERT_TRUE(write_file(folder_ / "full/x", "x"));
  const auto full = convert(checkpoint, folder_ / "full", {}, {});
  ASSERT_FALSE(full);
  EXPECT_THAT(full.error().message, HasSubstr("not empty"));
  const auto odd = convert(checkpoint, folder_ / "m.gguf", {.type = "Q4_K"}, {});
  ASSERT_FALSE(odd);
  EXPECT_THAT(odd.error().message, HasSubstr("compress"));
  EXPECT_FALSE(fs::exists(folder_ / "m.gguf"));
}

TEST_F(SpoiledModel, ConvertThereAndBackKeepsEveryValue) {
  const auto checkpoint = *open_checkpoint((folder_ / "llama").string());
  ASSERT_TRUE(convert(checkpoint, folder_ / "m.gguf", {}, {}));
  const auto gguf = *open_checkpoint((folder_ / "m.gguf").string());
  EXPECT_TRUE(gguf.config.tied_embeddings);
  EXPECT_EQ(gguf.config.hf_arch, "LlamaForCausalLM");
  ASSERT_TRUE(convert(gguf, folder_ / "back", {}, {}));
  const auto back = *open_checkpoint((folder_ / "back").string());
  const auto list = checkpoint.tensors->tensors();
  ASSERT_EQ(list.size(), back.tensors->tensors().size());
  for (size_t i = 0; i < list.size(); ++i) {
    const auto a = *checkpoint.tensors->read(i), b = *back.tensors->read(i);
    EXPECT_EQ(a.info.name, b.info.name);
    EXPECT_TRUE(std::ranges::equal(a.data, b.data)) << a.info.name;
  }
  EXPECT_FALSE(fs::exists(folder_ / "back.partial"));
}

TEST(GgufConfig, BadKeysAreNamed) {
  GgufMetadata metadata;
  const auto error = [&] {
    const auto config = find_architecture("llama")->from_gguf(metadata);
    return config ? std::string("read") : config.error().message;
  };
  EXPECT_THAT(error(), HasSubstr("llama.embedding_length"));
  find_architecture("llama")->to_gguf(config_of(llama_config()), metadata);
  EXPECT_EQ(error(), "read");
  for (const char* key : {"llama.block_count", "llama.attention.head_count", "llama.embedding_length"}) {
    GgufMetadata saved = metadata;
    metadata.set(key, uint32_t{0});
    EXPECT_THAT(error(), HasSubstr(key));
    metadata.set(key, uint32_t{4000000000U});
    EXPECT_THAT(error(), HasSubstr(key));
    metadata.set(key, std::string("many"));
    EXPECT_THAT(error(), HasSubstr(key));
    metadata = saved;
  }
  metadata.set("llama.attention.head_count_kv", uint32_t{3});
  EXPECT_THAT(error(), HasSubstr("does not divide"));
  metadata.set("llama.attention.head_count_kv", uint32_t{2});
  metadata.set("llama.rope.dimension_count", uint32_t{1000});
  EXPECT_THAT(error(), HasSubstr("rope.dimension_count"));
}

}  // namespace
}  // namespace lissom
