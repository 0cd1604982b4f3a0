#pragma once
// What a run of a model costs in operations and bytes, from the weights as they are held: what its time is
// divided by.

#include <cstdint>

#include "lissom/runtime.h"

namespace lissom::runtime {

/// Of the products with weights; attention, norms and activations are not counted. An operation is a
/// multiplication or an addition: 2·rows·columns for each token, by the arithmetic that the kernels do them in.
/// Bytes: each matrix and vector once, of embeddings the rows that are looked up, of a mixture the experts that
/// are chosen (if the tokens all chose others).
struct Work {
  int64_t int8_ops = 0, bf16_ops = 0, f32_ops = 0;
  int64_t weight_bytes = 0;
  Work& operator+=(const Work& other);
};

/// `tokens` tokens of one sequence at once, of which `wanted` give logits. Fails on a model that Model::load
/// did not make.
[[nodiscard]] Result<Work> work_of(const Model& model, int64_t tokens, int64_t wanted);

/// As read_prompt() reads them.
[[nodiscard]] Result<Work> work_of_prompt(const Model& model, int64_t tokens, int64_t at_once = 512);

/// Bytes of keys and values that are read while a sequence grows from nothing to `tokens` positions one at a
/// time: at position p those of p + 1 positions in each layer, or of its window. 0 where nothing is cached.
[[nodiscard]] Result<int64_t> cache_bytes_of_generation(const Model& model, int64_t tokens);

}  // namespace lissom::runtime
