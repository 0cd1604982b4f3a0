#pragma once
// What expand_impl.h wants, in plain C++ for any lanes.

#include <cstring>

#include "base/half.h"
#include "codec/int4/expand.h"

namespace lissom::LANES {
namespace {

template <class Function>
LANES_INLINE F sixteen(Function f) {
  float x[16];
  for (size_t i = 0; i < 16; ++i) x[i] = f(i);
  return load(x);
}
LANES_INLINE F from_halves(const std::byte* p) {
  return sixteen([&](size_t i) {
    uint16_t half;
    std::memcpy(&half, p + 2 * i, 2);
    return half_to_float(half);
  });
}
LANES_INLINE F from_nibbles(const uint8_t* p) {
  return sixteen([&](size_t i) { return static_cast<float>(int4::nibble(p, i)); });
}
LANES_INLINE F from_bytes(const uint8_t* p) {
  return sixteen([&](size_t i) { return static_cast<float>(p[i]); });
}
LANES_INLINE F from_quarters(const uint8_t* p) {
  return sixteen([&](size_t i) { return static_cast<float>(int4::quarter(p, i)); });
}
using Levels = const float*;
LANES_INLINE Levels levels_at(const float* p) {
  return p;
}
LANES_INLINE F look_up(const Levels& levels, const uint8_t* p) {
  return sixteen([&](size_t i) { return levels[int4::nibble(p, i)]; });
}

}  // namespace
}  // namespace lissom::LANES
