#pragma once
// A Hugging Face checkpoint under canonical names and layouts.

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lissom/model.h"
#include "lissom/result.h"
#include "lissom/tensor.h"
#include "model/arch.h"

namespace lissom {

/// Sees `source` as `graph`'s canonical tensors, in the graph's order. Absent optional weights are left out; an
/// absent required one, a wrong shape, and a tensor that nothing in the graph names are errors. Tensors without
/// a transform are passed through unread; others are made when read, those whose values change as F32. llama3's
/// and longrope's scaling add tensors, which Hugging Face derives from its configuration.
[[nodiscard]] Result<std::shared_ptr<const TensorSource>> canonical_view(
    std::shared_ptr<const TensorSource> source, const Graph& graph, const Architecture& arch,
    const Config& config);

/// What Hugging Face stores for a canonical weight: a name (without the architecture's prefix) and a shape for
/// each of its tensors. None where the tensor is made (zeros, constants).
struct HfTensor {
  std::string name;
  Shape shape;
};
[[nodiscard]] std::vector<HfTensor> hf_tensors(const Weight& weight);

/// Applies a transform that only moves elements: transpose, or rows.
/// shape: of the result. forward: Hugging Face → canonical; else back.
void transform_bytes(HfTransform transform, const Shape& shape, int64_t heads, bool forward,
                     int64_t element_bytes, const std::byte* in, std::byte* out);

/// The values of hf_tensors(weight)[part], from the values of the canonical tensor.
[[nodiscard]] std::vector<float> hf_values(const Weight& weight, size_t part, std::span<const float> canonical);

/// Checks that a canonical source (a GGUF) has what the graph needs, in the right shapes, and nothing else.
[[nodiscard]] Result<void> check_tensors(const TensorSource& source, const Graph& graph);

}  // namespace lissom
