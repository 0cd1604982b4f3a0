#pragma once
// A program cut where one value is all that the rest of it reads: between the residual additions of a
// transformer, whatever its architecture.

#include <functional>
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
/// it. Where rows are dropped or pooled nothing is cut any more. With `takes` a stage ends as late as it can
/// before the next multiplication, with all steps (of at most one row operation) that `takes` lets it have:
/// what follows a residual addition in post-norm models. And the embeddings are a stage of their own.
[[nodiscard]] std::vector<Stage> cut(const Program& program,
                                     const std::function<bool(const Step&)>& takes = {});
/// Keys and values of every layer in the same place of a cache, for stages that run one after the other.
void use_one_layer(Program& program);

}  // namespace lissom::runtime
