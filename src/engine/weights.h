#pragma once
// A checkpoint's tensors as ATen's.

#include "engine/forward.h"

namespace lissom::engine {

/// Every weight of the graph, F32 on the CPU; undefined where an optional one is absent. Fails on a tensor that
/// is missing, has another shape, or a type that no codec knows.
[[nodiscard]] Result<Weights> load_weights(const Checkpoint& checkpoint);

}  // namespace lissom::engine
