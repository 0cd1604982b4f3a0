#pragma once
// Which form each weight is held in.

#include <span>
#include <vector>

#include "lissom/codec.h"
#include "lissom/runtime.h"
#include "runtime/program.h"

namespace lissom::runtime {

/// What steps need of a weight.
struct Needs {
  bool matrix = false, table = false, vector = false;
  bool experts = false;  ///< a matrix for each of the first dimension
  [[nodiscard]] bool any() const { return matrix || table || vector || experts; }
  bool operator==(const Needs&) const = default;
};

/// For each of the graph's `weights`, what these steps need of it.
[[nodiscard]] std::vector<Needs> needs_of(std::span<const Step> steps, size_t weights);

/// The codec that a matrix is held in: the file's own, or BF16 for F32 where the options say so.
[[nodiscard]] const Codec& held_codec(const Codec& stored, const RuntimeOptions& options);

}  // namespace lissom::runtime
