#pragma once
// How the inputs of linears go together: XᵀX over a text, through whose eyes whitened SVD sees a weight.

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "compress/calibrate.h"
#include "compress/pack.h"
#include "lissom/engine.h"
#include "lissom/tokenizer.h"

namespace lissom {

struct SecondMomentOptions {
  CalibrationOptions calibration = {};
  /// Tokens that are read at most. The error of a moment falls with their root, the time grows with them.
  int64_t tokens = 16 << 10;
  /// Weighs tokens by Fisher information (fisher_weights.h); null: they count alike.
  const Engine* engine = nullptr;
  bool by_block = false;  ///< EngineOptions::by_block
};

/// Reads chunks of the text, spread evenly over it, as collect_importance() does, and sums x·xᵀ of the inputs
/// of `tensors` in F32. Linears that read the same input share a matrix. A chunk with values that are not
/// finite counts nowhere from the layer on where they appear. Tensors of a mixture of experts have none.
/// Memory: cols² floats for each input.
[[nodiscard]] Result<Hessians> collect_second_moments(const Checkpoint& checkpoint, const Tokenizer& tokenizer,
                                                      std::string_view text,
                                                      const std::vector<std::string>& tensors,
                                                      const SecondMomentOptions& options,
                                                      const Progress& progress);

/// Bytes that the result holds.
[[nodiscard]] uint64_t second_moment_bytes(const Graph& graph, const std::vector<std::string>& tensors);

}  // namespace lissom
