#pragma once
// ggml's tensor types: the one place where the numbers that GGUF stores are written down. Everywhere else a
// type is its name.

#include <cstdint>
#include <string_view>

#include "lissom/result.h"
#include "lissom/tensor.h"

namespace lissom {

struct GgmlType {
  uint32_t number;
  std::string_view name;  ///< the codec's name, or a plain type: "I32", "F64"
  uint32_t block_weights;
  uint32_t block_bytes;  ///< 0: a layout that GGUF once had and llama.cpp dropped
};

/// Null for a number that ggml has never used.
[[nodiscard]] const GgmlType* find_ggml_type(uint32_t number);
/// Null for a name that GGUF cannot store now.
[[nodiscard]] const GgmlType* find_ggml_type(std::string_view name);

/// Bytes of a tensor. Errors say what is wrong with the shape, without the tensor's name: a dimension that is
/// not positive, columns that do not divide by the block, more than 2^63 bytes.
[[nodiscard]] Result<uint64_t> ggml_bytes(const GgmlType& type, const Shape& shape);

}  // namespace lissom
