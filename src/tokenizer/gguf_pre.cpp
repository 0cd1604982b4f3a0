// The names of tokenizer.ggml.pre. llama.cpp ties each to a list of patterns that are applied one after
// another; the same as a sequence of Split stages.

#include <initializer_list>

#include "tokenizer/gguf_tokenizer.h"
#include "tokenizer/split_patterns.h"

namespace lissom::tok {
namespace {

using Names = std::initializer_list<const char*>;

Json byte_level(bool use_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", use_regex}};
}

Json sequence(Json stages) {
  return {{"type", "Sequence"}, {"pretokenizers", std::move(stages)}};
}

/// Split at each match, then bytes.
Json splits(std::initializer_list<std::string_view> patterns) {
  Json stages = Json::array();
  for (const std::string_view pattern : patterns)
    stages.push_back({{"type", "Split"},
                      {"pattern", {{"Regex", std::string(pattern)}}},
                      {"behavior", "Isolated"},
                      {"invert", false}});
  stages.push_back(byte_level(false));
  return sequence(std::move(stages));
}

Json digits_then_gpt2() {
  return sequence({{{"type", "Digits"}, {"individual_digits", true}}, byte_level(true)});
}

constexpr std::string_view kQwen35 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kTekken =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kO200k =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kDeepseek3 =
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+";
constexpr std::string_view kCjk = "[一-龥\u3040-ゟ゠-ヿ]+";

std::vector<PreName> build() {
  std::vector<PreName> all;
  const auto add = [&all](Names names, const Json& pre, bool ignore_merges = false, bool add_bos = false,
                          bool nfc = false) {
    for (const char* name : names) all.push_back({name, pre, ignore_merges, add_bos, nfc});
  };
  add({"gpt-2", "phi-2", "jina-es", "jina-de", "gigachat", "jina-v2-es", "jina-v2-de", "a.x-4.0", "mellum",
       "modern-bert", "jina-v1-en", "jina-v2-code", "roberta-bpe", "mpt", "olmo", "jais", "trillion",
       "granite-docling", "exaone4"},
      byte_level(true));
  add({"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"},
      digits_then_gpt2());
  add({"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2",
       "jina-v5-nano"},
      splits({kLlama3.pattern}), true, true);
  add({"smaug-bpe", "dbrx", "chatglm-bpe", "glm4", "glm5"}, splits({kLlama3.pattern}));
  add({"qwen2"}, splits({kQwen2.pattern}), false, false, true);
  add({"stablelm2", "deepseek-r1-qwen", "kormo", "f2llmv2", "megrez", "hunyuan", "solar-open", "grok-2"},
      splits({kQwen2.pattern}));
  add({"qwen35"}, splits({kQwen35}), false, false, true);
  add({"tekken"}, splits({kTekken}), true, true);
  add({"gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"}, splits({kO200k}));
  add({"deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"}, splits({R"(\p{N}{1,3})", kCjk, kDeepseek3}));
  add({"falcon"}, splits({R"([\p{P}\$\+<=>\^~\|`]+)", kGpt2.pattern, "[0-9][0-9][0-9]"}));
  add({"default"}, splits({R"([\p{P}\$\+<=>\^~\|]+)", kGpt2.pattern, R"(\p{N}+)", "[0-9][0-9][0-9]"}));
  return all;
}

}  // namespace

const std::vector<PreName>& pre_names() {
  static const std::vector<PreName> all = build();
  return all;
}

}  // namespace lissom::tok
