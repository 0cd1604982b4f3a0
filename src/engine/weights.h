#pragma once
// A checkpoint's tensors as ATen's.

#include <ATen/core/Tensor.h>

#include "engine/forward.h"

namespace lissom::engine {

/// Where tensors lie, and in what.
struct Placement {
  at::Device device{at::kCPU};
  bool bf16 = false;  ///< matrices in BF16; vectors are F32 all the same
};

/// Every weight of the graph; undefined where an optional one is absent. Fails on a tensor that is missing, has
/// another shape, or a type that no codec knows.
[[nodiscard]] Result<Weights> load_weights(const Checkpoint& checkpoint, const Placement& placement);

/// Loads those that ops [first, last) read, where `weights` lacks them, and drops all others.
[[nodiscard]] Result<void> hold_weights(const Checkpoint& checkpoint, const Placement& placement, int first,
                                        int last, Weights& weights);

}  // namespace lissom::engine
