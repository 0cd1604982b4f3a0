#include "model/hf_folder.h"

#include <algorithm>
#include <cmath>

#include "base/file.h"
#include "lissom/gguf.h"
#include "lissom/tokenizer.h"
#include "model/fields.h"

namespace lissom {
namespace {

namespace fs = std::filesystem;

/// llama3's parameters from the divisors that GGUF stores in their place: the values that are in use are tried.
Result<void> recover_llama3(Config& config) {
  const std::vector<float>& divisors = config.rope.inv_freq_divisor;
  if (divisors.empty()) return {};
  Rope rope = config.rope;
  rope.scaling = RopeScaling::llama3;
  rope.factor = *std::ranges::max_element(divisors);
  for (int64_t context : {8192, 4096, 2048, 16384, 32768, 1024, 512, 256, 128, 64, 32, 16}) {
    rope.original_context = context;
    for (const auto& [low, high] : {std::pair{1.0F, 4.0F}, std::pair{1.0F, 8.0F}, std::pair{2.0F, 4.0F}}) {
      rope.low_freq_factor = low;
      rope.high_freq_factor = high;
      const auto tried = llama3_divisors(rope);
      const bool same = std::ranges::equal(
          tried, divisors, [](float a, float b) { return std::abs(a - b) <= 1e-4F * std::abs(b); });
      if (!same) continue;
      config.rope = rope;
      config.rope.inv_freq_divisor.clear();
      return {};
    }
  }
  return unsupported(
      "tensor 'rope_freqs.weight': no llama3 scaling gives these divisors, so config.json cannot say them");
}

const char* torch_dtype(const std::string& type) {
  return type == "F16" ? "float16" : type == "BF16" ? "bfloat16" : "float32";
}

Result<void> write_pooling(const Config& config, const fs::path& folder) {
  const Json modules = {
      {{"idx", 0}, {"name", "0"}, {"path", ""}, {"type", "sentence_transformers.models.Transformer"}},
      {{"idx", 1}, {"name", "1"}, {"path", "1_Pooling"}, {"type", "sentence_transformers.models.Pooling"}}};
  const Json pooling = {{"word_embedding_dimension", config.width},
                        {"pooling_mode_cls_token", config.pooling == Pooling::cls},
                        {"pooling_mode_mean_tokens", config.pooling == Pooling::mean},
                        {"pooling_mode_lasttoken", config.pooling == Pooling::last}};
  std::error_code error;
  fs::create_directory(folder / "1_Pooling", error);
  if (error) return io_error((folder / "1_Pooling").string() + ": " + error.message());
  LISSOM_CHECK(write_file(folder / "modules.json", modules.dump(2) + "\n"));
  return write_file(folder / "1_Pooling/config.json", pooling.dump(2) + "\n");
}

/// What makes text to ids and back, says how to generate, and under which licence.
bool is_carried(const std::string& name) {
  for (const std::string_view known :
       {"tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json",
        "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "spiece.model", "sentencepiece.bpe.model",
        "chat_template.jinja", "chat_template.json", "generation_config.json"})
    if (name == known) return true;
  return name.starts_with("LICENSE") || name.starts_with("NOTICE") || name.starts_with("USE_POLICY");
}

}  // namespace

Result<HfNames> HfNames::of_checkpoint(const Checkpoint& c) {
  HfNames names;
  names.arch_ = architecture_of(c.config);
  if (names.arch_ == nullptr)
    return unsupported("architecture '" + c.config.arch + "' has no form as a Hugging Face folder");
  // A model without a head ("BertModel") has no prefix.
  names.bare_ = c.config.hf_arch.ends_with("Model") && !c.config.hf_arch.ends_with("HeadModel");
  return names;
}

std::string HfNames::of(const std::string& name) const {
  const auto starts = [&](std::string_view outside) { return name.starts_with(outside); };
  return bare_ || std::ranges::any_of(arch_->hf_outside, starts) ? name
                                                                 : std::string(arch_->hf_prefixes[0]) + name;
}

Result<void> write_hf_configs(const Checkpoint& c, const fs::path& folder, const std::string& type,
                              const Json& quantization) {
  const Architecture& arch = *architecture_of(c.config);
  Config config = c.config;
  LISSOM_CHECK(recover_llama3(config));
  Json json = arch.to_hf(config);
  json["vocab_size"] = config.vocab;
  json["tie_word_embeddings"] = config.tied_embeddings;
  json["torch_dtype"] = torch_dtype(type);
  if (!quantization.is_null()) json["quantization_config"] = quantization;
  Json generation = {{"_from_model_config", true}};
  const auto id = [&](const char* key, const Json& value) { json[key] = generation[key] = value; };
  if (config.bos >= 0) id("bos_token_id", config.bos);
  if (config.pad >= 0) id("pad_token_id", config.pad);
  if (config.eos.size() == 1) id("eos_token_id", config.eos[0]);
  if (config.eos.size() > 1) id("eos_token_id", config.eos);
  LISSOM_CHECK(write_file(folder / "config.json", json.dump(2) + "\n"));
  if (config.causal) LISSOM_CHECK(write_file(folder / "generation_config.json", generation.dump(2) + "\n"));
  if (config.pooling != Pooling::none) LISSOM_CHECK(write_pooling(config, folder));
  if (c.metadata->find("tokenizer.ggml.tokens") == nullptr) return {};
  LISSOM_TRY(const TokenizerFiles files, hf_tokenizer_files(*c.metadata, c.path.string()));
  LISSOM_CHECK(write_file(folder / "tokenizer.json", files.tokenizer_json));
  return write_file(folder / "tokenizer_config.json", files.tokenizer_config_json);
}

Result<void> carry_hf_configs(const Checkpoint& c, const fs::path& folder, const std::string& type,
                              const Json& quantization) {
  if (c.from_gguf) return write_hf_configs(c, folder, type, quantization);
  LISSOM_TRY(Json json, read_json(c.path / "config.json"));
  json["quantization_config"] = quantization;
  // transformers 5 calls dtype what was torch_dtype; where a file has both they must agree.
  const char* key = json.contains("dtype") && !json.contains("torch_dtype") ? "dtype" : "torch_dtype";
  json[key] = torch_dtype(type);
  if (json.contains("dtype")) json["dtype"] = torch_dtype(type);
  LISSOM_CHECK(write_file(folder / "config.json", json.dump(2) + "\n"));
  std::error_code error;
  for (fs::directory_iterator it(c.path, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (!is_carried(name) || !fs::is_regular_file(it->path(), error)) continue;
    constexpr uint64_t kLimit = uint64_t{1} << 28U;
    LISSOM_TRY(const std::string bytes, read_file(it->path(), kLimit));
    LISSOM_CHECK(write_file(folder / name, bytes));
  }
  if (error) return io_error(c.path.string() + ": " + error.message());
  return {};
}

}  // namespace lissom
