#pragma once
// A model that predicts the next token, differentiated a block at a time.

#include <exception>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/forward.h"
#include "engine/weights.h"
#include "lissom/engine.h"

namespace lissom::engine {

/// What LibTorch throws becomes an error.
template <class Work>
auto guarded(const Work& work) -> decltype(work()) {
  try {
    return work();
  } catch (const std::exception& e) {
    return io_error(std::string("LibTorch: ") + e.what());
  }
}

/// Rows of logits that are held at a time.
inline constexpr int64_t kLogitRows = 256;

/// What follows the last hidden state: a product, and a cap in some models.
struct Head {
  int op = 0;  ///< the product's index
  ValueId in = -1;
  WeightId weight = -1, bias = -1;
  double cap = 0;
};
/// Fails on a model that predicts no next token.
[[nodiscard]] Result<Head> find_head(const Graph& graph);
/// rows × width → rows × vocabulary, F32.
[[nodiscard]] at::Tensor logits(const Head& head, const at::Tensor& hidden, const Weights& weights, bool bf16);

/// A model that gradients are wanted of.
struct Predictor {
  std::unique_ptr<const Checkpoint> checkpoint;  ///< what `forward` refers to
  Forward forward;
  Head head;
  at::Device device;
};
/// Sets LibTorch's number of threads too.
[[nodiscard]] Result<Predictor> make_predictor(const Checkpoint& checkpoint, const at::Device& device,
                                               const EngineOptions& options);

/// Fails on sequences of unequal length and on tokens out of the vocabulary.
[[nodiscard]] Result<void> check_tokens(const Checkpoint& checkpoint, std::span<const int32_t> ids,
                                        int64_t sequences);
[[nodiscard]] Tokens tokens_of(std::span<const int32_t> ids, int64_t sequences, const at::Device& device);
/// The same with matrices in BF16.
[[nodiscard]] Weights in_bf16(const Weights& weights);

/// Ops [first, last) that are differentiated together: what they take over, and what they leave.
struct Segment {
  int first, last;
  std::vector<std::pair<ValueId, at::Tensor>> in = {}, out = {};

  /// Runs them on `values`, which the derivative then goes back to and no further.
  void run(const Forward& forward, const Weights& weights, const Tokens& tokens, bool bf16, Values& values,
           const OutputTap& tap = {});
  /// From the gradients by what they left to those by what they took over. Forgets both.
  void backward(Values& gradients);
};
/// The ops before `last`, a segment for each block, so that no more than one is ever differentiated at a time.
[[nodiscard]] std::vector<Segment> cut(const Graph& graph, int last);

}  // namespace lissom::engine
