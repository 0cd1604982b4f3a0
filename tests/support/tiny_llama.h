#pragma once
// A llama of one layer with random weights and a byte-level vocabulary, as a GGUF: what a test needs to run a
// model from a file without any model at hand.

#include <cmath>
#include <filesystem>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "lissom/gguf.h"
#include "lissom/model.h"

namespace lissom::testing {

struct TinyLlama {
  unsigned seed = 1;
  float noise = 0;       ///< added to the weights of the feed-forward's output: a worse copy of the same model
  bool broken = false;   ///< one weight is not a number
  int extra_tokens = 0;  ///< makes another vocabulary
  std::string first = "";  ///< replaces the text of token 0
};

inline std::string utf8(uint32_t code) {
  if (code < 0x80) return {static_cast<char>(code)};
  return {static_cast<char>(0xC0U | (code >> 6U)), static_cast<char>(0x80U | (code & 0x3FU))};
}

/// GPT-2's letters for bytes: printable ones stand for themselves, the others follow from U+0100 on.
inline std::vector<std::string> byte_letters() {
  std::vector<std::string> letters;
  uint32_t next = 256;
  for (uint32_t b = 0; b < 256; ++b) {
    const bool plain = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    letters.push_back(utf8(plain ? b : next++));
  }
  return letters;
}

inline GgufMetadata tiny_llama_metadata(const TinyLlama& options) {
  GgufMetadata m;
  m.set("general.architecture", std::string("llama"));
  m.set("general.name", std::string("tiny"));
  m.set("llama.block_count", uint32_t{1});
  m.set("llama.context_length", uint32_t{128});
  m.set("llama.embedding_length", uint32_t{32});
  m.set("llama.feed_forward_length", uint32_t{64});
  m.set("llama.attention.head_count", uint32_t{2});
  m.set("llama.attention.head_count_kv", uint32_t{1});
  m.set("llama.attention.layer_norm_rms_epsilon", 1e-5F);
  m.set("llama.rope.dimension_count", uint32_t{16});
  m.set("llama.rope.freq_base", 10000.0F);
  std::vector<std::string> tokens = byte_letters();
  if (!options.first.empty()) tokens[0] = options.first;
  tokens.push_back("\xC4\xA0t");  // " t", the one merge
  tokens.push_back("<|endoftext|>");
  for (int i = 0; i < options.extra_tokens; ++i) tokens.push_back("<|extra" + std::to_string(i) + "|>");
  std::vector<int32_t> types(tokens.size(), 1);
  for (size_t i = 257; i < types.size(); ++i) types[i] = 3;
  m.set("llama.vocab_size", static_cast<uint32_t>(tokens.size()));
  m.set("tokenizer.ggml.model", std::string("gpt2"));
  m.set("tokenizer.ggml.pre", std::string("gpt-2"));
  m.set_array("tokenizer.ggml.tokens", std::move(tokens));
  m.set_array("tokenizer.ggml.token_type", std::move(types));
  m.set_array("tokenizer.ggml.merges", std::vector<std::string>{"\xC4\xA0 t"});
  m.set("tokenizer.ggml.bos_token_id", uint32_t{257});
  m.set("tokenizer.ggml.eos_token_id", uint32_t{257});
  m.set("tokenizer.ggml.add_bos_token", false);
  return m;
}

/// Writes the model, and opens it.
inline Checkpoint tiny_llama(const std::filesystem::path& path, const TinyLlama& options = {}) {
  const int64_t vocab = 258 + options.extra_tokens;
  std::vector<TensorInfo> directory;
  const auto add = [&](const std::string& name, const Shape& shape) {
    directory.push_back({name, "F32", shape, static_cast<uint64_t>(shape.elements()) * 4});
  };
  add("token_embd.weight", {vocab, 32});
  add("output_norm.weight", {32});
  add("blk.0.attn_norm.weight", {32});
  add("blk.0.attn_q.weight", {32, 32});
  add("blk.0.attn_k.weight", {16, 32});
  add("blk.0.attn_v.weight", {16, 32});
  add("blk.0.attn_output.weight", {32, 32});
  add("blk.0.ffn_norm.weight", {32});
  add("blk.0.ffn_gate.weight", {64, 32});
  add("blk.0.ffn_up.weight", {64, 32});
  add("blk.0.ffn_down.weight", {32, 64});

  const auto check = [](auto result) {
    if (!result) throw std::runtime_error(result.error().message);
    return result;
  };
  auto writer = check(GgufWriter::create(path, tiny_llama_metadata(options), directory, {}));
  std::mt19937 random(options.seed), noise(options.seed + 1000);
  // Not std::normal_distribution, whose values no standard fixes.
  const auto uniform = [](std::mt19937& r) { return static_cast<float>(r()) / 2147483648.0F - 1.0F; };
  for (const TensorInfo& info : directory) {
    std::vector<float> values(static_cast<size_t>(info.shape.elements()));
    for (float& v : values) v = info.shape.rank() == 1 ? 1.0F : 0.5F * uniform(random);
    if (info.name == "blk.0.ffn_down.weight") {
      for (float& v : values) v += options.noise * uniform(noise);
    }
    if (options.broken && info.name == "output_norm.weight") values[3] = NAN;
    check((*writer)->append(std::as_bytes(std::span<const float>(values))));
  }
  check((*writer)->finish());
  return std::move(*check(open_checkpoint(path.string())));
}

}  // namespace lissom::testing
