#include "compress/checksum.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace lissom {
namespace {

static_assert(std::endian::native == std::endian::little);

template <class T>
uint64_t load(const std::byte* p) {
  T value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

}  // namespace

void Checksum::stripe(const std::byte* p) {
  for (size_t i = 0; i < 4; ++i) lanes_[i] = std::rotl(lanes_[i] + load<uint64_t>(p + 8 * i) * kP2, 31) * kP1;
}

void Checksum::update(std::span<const std::byte> data) {
  const size_t held = length_ % 32;
  length_ += data.size();
  if (held > 0) {
    const size_t n = std::min(32 - held, data.size());
    std::copy_n(data.begin(), n, rest_.begin() + static_cast<ptrdiff_t>(held));
    data = data.subspan(n);
    if (held + n < 32) return;
    stripe(rest_.data());
  }
  for (; data.size() >= 32; data = data.subspan(32)) stripe(data.data());
  std::ranges::copy(data, rest_.begin());
}

uint64_t Checksum::value() const {
  uint64_t h = lanes_[2] + kP5;
  if (length_ >= 32) {
    h = std::rotl(lanes_[0], 1) + std::rotl(lanes_[1], 7) + std::rotl(lanes_[2], 12) + std::rotl(lanes_[3], 18);
    for (const uint64_t lane : lanes_) h = (h ^ (std::rotl(lane * kP2, 31) * kP1)) * kP1 + kP4;
  }
  h += length_;
  const std::byte* p = rest_.data();
  size_t left = length_ % 32;
  for (; left >= 8; left -= 8, p += 8)
    h = std::rotl(h ^ (std::rotl(load<uint64_t>(p) * kP2, 31) * kP1), 27) * kP1 + kP4;
  for (; left >= 4; left -= 4, p += 4) h = std::rotl(h ^ (load<uint32_t>(p) * kP1), 23) * kP2 + kP3;
  for (; left > 0; --left, ++p) h = std::rotl(h ^ (load<uint8_t>(p) * kP5), 11) * kP1;
  h = (h ^ (h >> 33)) * kP2;
  h = (h ^ (h >> 29)) * kP3;
  return h ^ (h >> 32);
}

}  // namespace lissom
