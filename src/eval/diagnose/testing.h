#pragma once
// For tests: small models of any architecture with random weights, one tensor of which can be spoilt.

#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "data/windows.h"
#include "lissom/codec.h"
#include "lissom/model.h"
#include "model/arch.h"

namespace lissom::testing {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15ULL + 1) {}
  uint64_t next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_;
  }
  float uniform() { return static_cast<float>(next() >> 40) / static_cast<float>(1 << 23) - 1.0F; }  ///< -1 … 1

 private:
  uint64_t state_;
};

class Tensors final : public TensorSource {
 public:
  void add(const std::string& name, const std::string& type, const Shape& shape,
           const std::vector<float>& values) {
    const Codec* codec = find_codec(type);
    std::vector<std::byte> bytes(codec->components(shape).front().bytes);
    if (type == "F32") {  // NaN and all
      std::memcpy(bytes.data(), values.data(), bytes.size());
    } else {
      const std::span<std::byte> part(bytes);
      codec->encode(shape, values, {}, {&part, 1});
    }
    infos_.push_back({name, type, shape, bytes.size()});
    bytes_.push_back(std::move(bytes));
  }
  [[nodiscard]] std::span<const TensorInfo> tensors() const override { return infos_; }
  [[nodiscard]] Result<TensorView> read(size_t index) const override {
    return TensorView{infos_[index], bytes_[index], {}};
  }
  void release(size_t) const override {}
  [[nodiscard]] std::string origin() const override { return "memory"; }

 private:
  std::vector<TensorInfo> infos_;
  std::vector<std::vector<std::byte>> bytes_;
};

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
  auto tensors = std::make_shared<Tensors>();
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
    tensors->add(w.name, matrix ? codec : "F32", w.shape, values);
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
