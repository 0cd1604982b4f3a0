#pragma once
// The components of an encoded tensor in one run of bytes: what a TensorView's data is for a codec of several.
// Components lie one after the other in the codec's order, each begun at a multiple of kPartAlignment, so that
// code may read them with aligned loads; a codec of one component has its bytes and nothing else.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "lissom/codec.h"
#include "lissom/result.h"

namespace lissom {

inline constexpr uint64_t kPartAlignment = 64;

using Parts = std::vector<std::span<const std::byte>>;

/// Element i of a component of Ts.
template <class T>
T load(std::span<const std::byte> part, size_t i) {
  T value;
  std::memcpy(&value, part.data() + i * sizeof(T), sizeof(T));
  return value;
}
template <class T>
void store(std::span<std::byte> part, size_t i, T value) {
  std::memcpy(part.data() + i * sizeof(T), &value, sizeof(T));
}

/// Where each component begins, and after the last entry the end of all.
[[nodiscard]] std::vector<uint64_t> part_offsets(std::span<const Component> components);

/// The stored bytes of a tensor: of its components, without what lies between them in memory.
[[nodiscard]] uint64_t stored_bytes(const Codec& codec, const Shape& shape);

/// What parts_of() cuts: the encoded components, in the codec's order, one after the other.
[[nodiscard]] std::vector<std::byte> join_parts(const Codec& codec, const Shape& shape,
                                                std::span<const std::vector<std::byte>> parts);

/// Cuts `data` into the codec's components. Errors, without the tensor's name: columns that do not divide, a
/// length that is not that of the components, contents that a PartsCheck refuses.
[[nodiscard]] Result<Parts> parts_of(const Codec& codec, const Shape& shape, std::span<const std::byte> data);

/// What a codec also is whose components may hold values that it cannot decode (an index past a codebook): a
/// reader asks once, before it decodes anything.
class PartsCheck {
 public:
  virtual ~PartsCheck() = default;
  /// An error says which component is wrong, without the tensor's name.
  [[nodiscard]] virtual Result<void> check_parts(const Shape& shape,
                                                 std::span<const std::span<const std::byte>> parts) const = 0;
};

}  // namespace lissom
