#pragma once
// A program cut where one value is all that the rest of it reads: between the residual additions of a
// transformer, whatever its architecture.

#include <vector>

#include "runtime/program.h"

namespace lissom::runtime {

struct Stage {
  std::vector<Step> steps;
  View in, out;  ///< what it takes over and hands on, without gaps; slot -1: nothing
};

/// The program without what no linear's input hangs on: products that nobody reads (a head's, for one) keep
/// their input and lose their terms. No results; all layers of a cache are one.
[[nodiscard]] Program only_inputs(Program program);

/// Each stage but the last ends as soon as it can once it has multiplied by a matrix; no keys or values outlive
/// it. Where rows are dropped or pooled nothing is cut any more. `embeddings`: the embeddings, before anything
/// is multiplied, are a stage of their own.
[[nodiscard]] std::vector<Stage> cut(const Program& program, bool embeddings = false);
/// Keys and values of every layer in the same place of a cache, for stages that run one after the other.
void use_one_layer(Program& program);

}  // namespace lissom::runtime
