#pragma once
// Where a graph leaves room for a change of basis: found from its ops alone.

#include <cstdint>
#include <string>
#include <vector>

#include "lissom/model.h"
#include "lissom/result.h"

namespace lissom {

/// Linears that read one value, and the weights that this value is linear in: with the producers' rows divided
/// by positive factors and the consumers' columns multiplied by them the model says the same.
struct FoldPair {
  /// What lies between: nothing but the norm itself; attention's sum over positions; the product with the gate,
  /// or ReLU.
  enum class Through { norm, attention, product } through = Through::norm;
  /// Rows of a matrix, or values of a vector: first … first + channels.
  struct Part {
    WeightId weight = -1;
    int64_t first = 0;
  };
  std::string label;  ///< of the consumers' input, as statistics are named
  std::vector<Part> producers;
  std::vector<WeightId> consumers;
  int64_t channels = 0;  ///< of the producers
  /// Attention: heads / kv_heads query heads read each of its channels, and a channel is one of head_dim.
  int64_t head_dim = 0, shared_heads = 1;
  /// The producers' channel that a consumer's column reads.
  [[nodiscard]] int64_t channel_of(int64_t column) const {
    return head_dim == 0 ? column : column / (head_dim * shared_heads) * head_dim + column % head_dim;
  }
};

struct FoldPairs {
  struct Left {
    std::string what;  ///< "label: why nothing can be folded there"
    FoldPair::Through through = FoldPair::Through::norm;
  };
  std::vector<FoldPair> pairs;
  std::vector<Left> left;
};
/// Only weights of 16 bits or more that are used in one place are folded into: what is quantized already would
/// be quantized again.
[[nodiscard]] FoldPairs find_fold_pairs(const Checkpoint& checkpoint);

/// Everything that a rotation of the residual stream touches (QuaRot, arXiv 2404.00456; SpinQuant's R1, arXiv
/// 2405.16406).
struct ResidualStream {
  int64_t width = 0;
  std::vector<WeightId> tables;   ///< embeddings: their columns turn
  std::vector<WeightId> writers;  ///< linears whose outputs are added: their rows turn
  std::vector<WeightId> biases;   ///< of writers
  struct Reader {
    WeightId weight;
    WeightId norm;  ///< whose values the reader's columns are multiplied by before they turn
  };
  std::vector<Reader> readers;
};
/// Errors (unsupported), each with its reason: embeddings that are also the head, a norm that is not RMSNorm or
/// whose output is not read by linears alone, norms between a linear and the stream, a quantized source.
[[nodiscard]] Result<ResidualStream> find_residual_stream(const Checkpoint& checkpoint);

}  // namespace lissom
