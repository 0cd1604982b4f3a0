#pragma once
// For the tests of this room and those after it: a checkpoint made of numbers.

#include <cmath>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lissom/engine.h"
#include "lissom/gguf.h"
#include "lissom/model.h"
#include "support/memory_source.h"

namespace lissom::testing {

/// Nearly Gaussian with deviation 0.05, the same everywhere (std::normal_distribution is not).
inline std::vector<float> gaussian(int64_t n, uint64_t seed) {
  std::vector<float> out(static_cast<size_t>(n));
  uint64_t state = seed * 0x9e3779b97f4a7c15U;
  for (float& v : out) {
    uint64_t z = state += 0x9e3779b97f4a7c15U;  // splitmix64
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    z ^= z >> 31;
    const uint64_t sum = (z & 0xffffU) + ((z >> 16) & 0xffffU) + ((z >> 32) & 0xffffU) + (z >> 48);
    v = (static_cast<float>(sum) - 131070.0F) / 37837.0F * 0.05F;
  }
  return out;
}

struct TinyOptions {
  int64_t layers = 2, width = 64, ff = 256, vocab = 96, heads = 4, kv_heads = 2;
  bool tied = true;
  std::string type = "F32";
};

/// The tensors of a llama, Gaussian, in GGUF's names; a config to match; no tokenizer.
inline Checkpoint tiny_llama(const TinyOptions& o, std::shared_ptr<MemorySource>* source = nullptr) {
  auto tensors = std::make_shared<MemorySource>();
  uint64_t seed = 1;
  const auto matrix = [&](const std::string& name, int64_t rows, int64_t cols) {
    tensors->add(name, Shape{rows, cols}, gaussian(rows * cols, seed++), o.type);
  };
  const auto norm = [&](const std::string& name) {
    tensors->add(name, Shape{o.width}, std::vector<float>(static_cast<size_t>(o.width), 1.0F));
  };
  const int64_t kv = o.width / o.heads * o.kv_heads;
  matrix("token_embd.weight", o.vocab, o.width);
  for (int64_t l = 0; l < o.layers; ++l) {
    const std::string b = "blk." + std::to_string(l) + ".";
    norm(b + "attn_norm.weight");
    matrix(b + "attn_q.weight", o.width, o.width);
    matrix(b + "attn_k.weight", kv, o.width);
    matrix(b + "attn_v.weight", kv, o.width);
    matrix(b + "attn_output.weight", o.width, o.width);
    norm(b + "ffn_norm.weight");
    matrix(b + "ffn_gate.weight", o.ff, o.width);
    matrix(b + "ffn_up.weight", o.ff, o.width);
    matrix(b + "ffn_down.weight", o.width, o.ff);
  }
  norm("output_norm.weight");
  if (!o.tied) matrix("output.weight", o.vocab, o.width);
  Checkpoint checkpoint;
  Config& c = checkpoint.config;
  c.arch = "llama";
  c.vocab = o.vocab;
  c.context = 128;
  c.width = o.width;
  c.layers = o.layers;
  c.heads = o.heads;
  c.kv_heads = o.kv_heads;
  c.head_dim = o.width / o.heads;
  c.rope.dim = static_cast<int>(c.head_dim);
  c.ff = o.ff;
  c.tied_embeddings = o.tied;
  auto metadata = std::make_shared<GgufMetadata>();
  metadata->set("general.name", std::string("tiny"));
  checkpoint.metadata = metadata;
  checkpoint.tensors = tensors;
  if (source != nullptr) *source = tensors;
  return checkpoint;
}

/// Can nothing, unless a test says how.
class FakeEngine : public Engine {
 public:
  [[nodiscard]] std::string description() const override { return "fake"; }
  [[nodiscard]] Result<std::vector<float>> forward(const Checkpoint&, std::span<const int32_t>,
                                                   std::span<const int32_t>, int64_t) const override {
    return unsupported("no forward here");
  }
  [[nodiscard]] Result<void> use(const std::string&) override { return {}; }
  [[nodiscard]] Result<std::unique_ptr<Distiller>> distiller(const Checkpoint&,
                                                             const EngineOptions&) const override {
    return unsupported("no distiller here");
  }
  [[nodiscard]] Result<std::unique_ptr<TokenFisher>> token_fisher(const Checkpoint&,
                                                                  const EngineOptions&) const override {
    return unsupported("no Fisher information here");
  }
};

}  // namespace lissom::testing
