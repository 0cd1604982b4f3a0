#pragma once
// For tests: small models of any architecture with random weights, one tensor of which can be spoilt.

#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "data/windows.h"
#include "lissom/model.h"
#include "model/arch.h"
#include "support/memory_source.h"
#include "support/random.h"

namespace lissom::testing {

inline Config small_llama(int64_t layers = 6) {
  Config c;
  c.arch = "llama";
  c.vocab = 96;
  c.context = 64;
  c.width = 64;
  c.layers = layers;
  c.heads = 4;
  c.kv_heads = 2;
  c.head_dim = 16;
  c.ff = 96;
  c.rope.dim = 16;
  c.rope.pairing = RopePairing::interleaved;
  c.tied_embeddings = true;
  return c;
}

inline Config small_mixture() {
  Config c = small_llama();
  c.experts.count = 4;
  c.experts.used = 2;
  c.experts.ff = c.ff;
  c.experts.score = Experts::Score::softmax_chosen;
  return c;
}

inline Config small_bert() {
  Config c = small_llama();
  c.arch = "bert";
  c.kv_heads = c.heads;
  c.causal = false;
  c.attention_bias = c.mlp_bias = true;
  c.activation = "gelu";
  c.token_types = 2;
  c.tied_embeddings = false;
  c.rope = {};
  return c;
}

/// Called with each tensor's values before they are encoded.
using Spoil = std::function<void(const Weight& weight, std::vector<float>& values)>;

/// Weights depend on `config` alone; matrices and embeddings are stored as `codec`.
inline Checkpoint small_model(const Config& config, const std::string& codec = "F32", const Spoil& spoil = {}) {
  Checkpoint checkpoint;
  checkpoint.path = codec;
  checkpoint.config = config;
  checkpoint.graph = find_architecture(config.arch)->build(config).value();
  auto tensors = std::make_shared<MemorySource>();
  Random random(7);
  for (const Weight& w : checkpoint.graph.weights) {
    if (w.optional) continue;
    std::vector<float> values(static_cast<size_t>(w.shape.elements()));
    const bool matrix = w.shape.rank() > 1;
    const float scale =
        w.role == WeightRole::linear ? 1.7F / std::sqrt(static_cast<float>(w.shape.cols())) : 1.0F;
    for (float& v : values)
      v = matrix ? scale * random.uniform()
                 : (w.role == WeightRole::norm ? 1.0F + 0.3F * random.uniform() : 0.2F * random.uniform());
    if (spoil) spoil(w, values);
    tensors->add(w.name, w.shape, values, matrix ? codec : "F32");
  }
  checkpoint.tensors = tensors;
  return checkpoint;
}

inline Windows random_windows(const Config& config, int64_t count, int64_t context) {
  Windows windows;
  windows.context = context;
  windows.count = count;
  Random random(11);
  for (int64_t i = 0; i <= count * context; ++i)
    windows.tokens.push_back(static_cast<int32_t>(random.next() % static_cast<uint64_t>(config.vocab)));
  return windows;
}

}  // namespace lissom::testing
