#pragma once
// Which form each weight is held in.

#include <vector>

#include "lissom/codec.h"
#include "lissom/runtime.h"

namespace lissom::runtime {

/// What an op needs of a weight.
struct Needs {
  bool matrix = false, table = false, vector = false;
  bool experts = false;  ///< a matrix for each of the first dimension
  [[nodiscard]] bool any() const { return matrix || table || vector || experts; }
};

/// For each weight of the graph.
[[nodiscard]] std::vector<Needs> needs_of(const Graph& graph);

/// The codec that a matrix is held in: the file's own, or BF16 for F32 where the options say so.
[[nodiscard]] const Codec& held_codec(const Codec& stored, const RuntimeOptions& options);

}  // namespace lissom::runtime
