#pragma once
// A Hugging Face checkpoint under canonical names and layouts.

#include <memory>

#include "lissom/model.h"
#include "lissom/result.h"
#include "lissom/tensor.h"
#include "model/arch.h"

namespace lissom {

/// Sees `source` as `graph`'s canonical tensors, in the graph's order. Absent optional weights are left out; an
/// absent required one, a wrong shape, and a tensor that nothing in the graph names are errors. Tensors without
/// a transform are passed through unread; others are made when read. llama3 scaling adds rope_freqs.weight,
/// which Hugging Face derives from its configuration.
[[nodiscard]] Result<std::shared_ptr<const TensorSource>> canonical_view(
    std::shared_ptr<const TensorSource> source, const Graph& graph, const Architecture& arch,
    const Config& config);

/// Applies a transform to bytes of `width`-byte elements (or, for row moves, whole encoded rows).
/// shape: of the result. forward: Hugging Face → canonical; else back.
void transform_bytes(HfTransform transform, const Shape& shape, int64_t heads, bool forward,
                     int64_t element_bytes, const std::byte* in, std::byte* out);

/// Checks that a canonical source (a GGUF) has what the graph needs, in the right shapes, and nothing else.
[[nodiscard]] Result<void> check_tensors(const TensorSource& source, const Graph& graph);

}  // namespace lissom
