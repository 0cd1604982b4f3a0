#pragma once
// Codecs whose tensors are shares of the rows, each in a codec of its own, which kernels run one beside the
// other.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "lissom/codec.h"

namespace lissom {

class StackedCodec {
 public:
  struct Share {
    size_t number;
    const Codec* codec;
    int64_t first;  ///< row
    Shape shape;
    size_t part, parts;  ///< its components among all
  };
  virtual ~StackedCodec() = default;
  /// Those that have rows, from the top.
  [[nodiscard]] virtual std::vector<Share> shares(const Shape& shape) const = 0;
};

}  // namespace lissom
