#pragma once
// Tiny models made in memory, and an interpreter of graphs in plain double arithmetic to hold the runtime to.

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lissom/model.h"
#include "lissom/runtime.h"
#include "lissom/tensor.h"

namespace lissom::runtime::testing {

/// Tensors that lie in memory.
class MemorySource final : public TensorSource {
 public:
  void add(const std::string& name, const std::string& codec, const Shape& shape,
           std::span<const float> values);
  void remove(const std::string& name);
  [[nodiscard]] std::span<const TensorInfo> tensors() const override { return infos_; }
  [[nodiscard]] Result<TensorView> read(size_t index) const override;
  void release(size_t) const override { ++released; }
  [[nodiscard]] std::string origin() const override { return "memory"; }
  mutable int released = 0;
  std::vector<TensorInfo> infos_;
  std::vector<std::shared_ptr<std::vector<std::byte>>> bytes_;
};

struct TinyModel {
  Checkpoint checkpoint;
  std::shared_ptr<MemorySource> source;
  std::map<std::string, std::vector<float>> weights;  ///< as the codec reads them back
};

/// What varies between the tiny models; widths are multiples of 32 so that block codecs fit.
struct TinyOptions {
  std::string codec = "F32";
  bool causal = true, qk_norm = false, tied = true, fused_qkv = false, layer_norm = false, gated = true;
  bool token_types = false, classifier = false;
  Pooling pooling = Pooling::none;
  int64_t window = 0, layers = 2, heads = 4, kv_heads = 2, head_dim = 16, vocab = 96, ff = 96;
  RopePairing pairing = RopePairing::halves;
  bool rope = true;         ///< else a table of positions
  bool local_rope = false;  ///< the second layer rotates in its own way
  float softcap = 0, logit_softcap = 0, embedding_scale = 1;
  int64_t position_buckets = 0;  ///< > 0: attention over relative positions
  Experts experts = {};          ///< count > 0: the MLP is a mixture
};
[[nodiscard]] TinyModel tiny_model(const TinyOptions& options, uint64_t seed = 1);

/// One sequence through the graph. logits, hidden, pooled as the graph has them.
struct Reference {
  std::vector<double> logits, hidden, pooled;
};
[[nodiscard]] Reference interpret(const TinyModel& model, std::span<const int32_t> tokens,
                                  std::span<const int32_t> types = {});

/// max |a-b| / max |b|.
[[nodiscard]] double relative_error(std::span<const float> a, std::span<const double> b);
[[nodiscard]] std::vector<int32_t> random_tokens(int64_t n, int64_t vocab, uint64_t seed);

}  // namespace lissom::runtime::testing
