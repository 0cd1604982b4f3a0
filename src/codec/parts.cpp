#include "codec/parts.h"

#include <fmt/format.h>

#include <algorithm>

namespace lissom {

std::vector<uint64_t> part_offsets(std::span<const Component> components) {
  std::vector<uint64_t> offsets{0};
  for (size_t i = 0; i < components.size(); ++i) {
    const uint64_t end = offsets.back() + components[i].bytes;
    if (i + 1 < components.size()) {
      offsets.push_back((end + kPartAlignment - 1) / kPartAlignment * kPartAlignment);
    } else {
      offsets.push_back(end);
    }
  }
  return offsets;
}

uint64_t stored_bytes(const Codec& codec, const Shape& shape) {
  uint64_t bytes = 0;
  for (const Component& part : codec.components(shape)) bytes += part.bytes;
  return bytes;
}

std::vector<std::byte> join_parts(const Codec& codec, const Shape& shape,
                                  std::span<const std::vector<std::byte>> parts) {
  const std::vector<uint64_t> offsets = part_offsets(codec.components(shape));
  std::vector<std::byte> data(offsets.back());
  for (size_t i = 0; i < parts.size(); ++i)
    std::ranges::copy(parts[i], data.begin() + static_cast<ptrdiff_t>(offsets[i]));
  return data;
}

Result<Parts> parts_of(const Codec& codec, const Shape& shape, std::span<const std::byte> data) {
  const auto refused = [&] {
    return bad_input(fmt::format("its {} bytes are not {} of {}", data.size(), shape.str(), codec.name()));
  };
  if (shape.cols() % codec.column_multiple() != 0) return refused();
  const std::vector<Component> components = codec.components(shape);
  const std::vector<uint64_t> offsets = part_offsets(components);
  if (offsets.back() != data.size()) return refused();
  Parts parts;
  for (size_t i = 0; i < components.size(); ++i) parts.push_back(data.subspan(offsets[i], components[i].bytes));
  if (const auto* check = dynamic_cast<const PartsCheck*>(&codec))
    LISSOM_CHECK(check->check_parts(shape, parts));
  return parts;
}

}  // namespace lissom
