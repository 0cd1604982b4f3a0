#pragma once
// Which form each weight is held in.

#include <vector>

#include "lissom/model.h"

namespace lissom::runtime {

/// What an op needs of a weight.
struct Needs {
  bool matrix = false, table = false, vector = false;
  [[nodiscard]] bool any() const { return matrix || table || vector; }
};

/// For each weight of the graph.
[[nodiscard]] std::vector<Needs> needs_of(const Graph& graph);

}  // namespace lissom::runtime
