#pragma once
// Codecs whose weights another codec, which has a kernel, holds exactly: groups of integer codes with a scale,
// and perhaps an offset, as GGUF's blocks with that scale in each. They run at the other's speed and, while
// they run, in its bytes.

#include <cstddef>
#include <span>

#include "lissom/codec.h"

namespace lissom {

class EquivalentCodec {
 public:
  virtual ~EquivalentCodec() = default;
  /// A codec of one component that decodes to the same weights bit for bit, or null where a tensor of this
  /// shape has none.
  [[nodiscard]] virtual const Codec* equivalent(const Shape& shape) const = 0;
  /// Its bytes; out has as many as equivalent()'s component of this shape.
  virtual void write_equivalent(const Shape& shape, std::span<const std::span<const std::byte>> parts,
                                std::span<std::byte> out) const = 0;
};

}  // namespace lissom
