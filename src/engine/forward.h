#pragma once
// The graph executed with ATen: every op is differentiable, on whatever device the weights lie on.

#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <vector>

#include "lissom/model.h"
#include "lissom/result.h"
#include "runtime/rope.h"

namespace lissom::engine {

/// Sequences of one length, each read from its beginning.
struct Tokens {
  at::Tensor ids;    ///< sequences × length, I64
  at::Tensor types;  ///< the same for token types; undefined: all 0
  [[nodiscard]] int64_t sequences() const { return ids.size(0); }
  [[nodiscard]] int64_t length() const { return ids.size(1); }
};

/// Activations by ValueId: (sequences · length) × Graph::widths[id], F32, a sequence's rows together; of pooled
/// values sequences × width.
using Values = std::map<ValueId, at::Tensor>;
/// By WeightId, in the graph's shapes, F32; undefined where an optional weight is absent.
using Weights = std::vector<at::Tensor>;

/// Sees what a linear makes, rows × its outputs.
using OutputTap = std::function<void(const LinearOp& op, const at::Tensor& made)>;

class Forward {
 public:
  /// Both live as long as this. Fails on a RoPE that makes no sense.
  [[nodiscard]] static Result<Forward> create(const Graph& graph, const Config& config, int64_t positions);

  /// Runs ops [first, last): takes what they read from `values` and leaves there what is read later, or what
  /// the graph names as a result. bf16: products of matrices and attention round their inputs to BF16.
  void run(int first, int last, const Weights& weights, const Tokens& tokens, bool bf16, Values& values,
           const OutputTap& tap = {}) const;

 private:
  struct Runner;
  Forward(const Graph& graph, const Config& config);

  const Graph& graph_;
  const Config& config_;
  runtime::RopeFrequencies rope_, rope_local_;
  std::vector<int> last_use_;  ///< of each value; results: the number of ops
};

}  // namespace lissom::engine
