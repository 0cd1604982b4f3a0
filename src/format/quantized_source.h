#pragma once
// The quantized folders of vLLM and transformers, seen as the weights that they stand for.

#include <memory>

#include "format/json.h"
#include "lissom/result.h"
#include "lissom/tensor.h"

namespace lissom {

/// `source` with each quantized layer's tensors as one "NAME.weight" of F32, decoded when it is read; the
/// others pass through. quantization_config: config.json's. F32 holds every product of a code and a scale of 16
/// bits. Errors name the source, and the field or the tensor.
[[nodiscard]] Result<std::shared_ptr<const TensorSource>> dequantized_view(
    std::shared_ptr<const TensorSource> source, const Json& quantization_config);

/// How many bytes of the file a tensor of a dequantized_view() takes, of any other source its own.
[[nodiscard]] uint64_t stored_bytes(const TensorSource& source, size_t index);

}  // namespace lissom
