#pragma once
// The loops of expand.h. Included after a lanes header and, in its namespace, from_halves(const std::byte*),
// from_nibbles, from_bytes and from_quarters(const uint8_t*), which make sixteen floats; Levels,
// levels_at(const float*) and look_up(const Levels&, const uint8_t*).

#include <algorithm>
#include <cstring>

#include "base/half.h"
#include "codec/int4/expand.h"

namespace lissom::LANES {
namespace {

LANES_FN void expand_halves(const std::byte* from, size_t n, float* to) {
  size_t i = 0;
  for (; i + 16 <= n; i += 16) store(to + i, from_halves(from + 2 * i));
  for (; i < n; ++i) {
    uint16_t half;
    std::memcpy(&half, from + 2 * i, 2);
    to[i] = half_to_float(half);
  }
}

LANES_INLINE void expand_line(const uint8_t* codes, size_t n, float scale, float offset, float* to) {
  size_t i = 0;
  for (; i + 16 <= n; i += 16) store(to + i, set(scale) * from_nibbles(codes + i / 2) + set(offset));
  for (; i < n; ++i) to[i] = scale * static_cast<float>(int4::nibble(codes, i)) + offset;
}

LANES_FN void expand_lines(const int4::Lines& l, float* to) {
  for (size_t g = 0, first = 0; first < l.columns; ++g, first += l.group)
    expand_line(l.codes + first / 2, std::min(l.group, l.columns - first), l.scales[g], l.offsets[g],
                to + first);
}

LANES_FN void expand_bytes(const uint8_t* codes, size_t n, float scale, float offset, float* to) {
  size_t i = 0;
  for (; i + 16 <= n; i += 16) store(to + i, set(scale) * from_bytes(codes + i) + set(offset));
  for (; i < n; ++i) to[i] = scale * static_cast<float>(codes[i]) + offset;
}

LANES_FN void expand_quarters(const uint8_t* codes, size_t n, float scale, float offset, float* to) {
  size_t i = 0;
  for (; i + 16 <= n; i += 16) store(to + i, set(scale) * from_quarters(codes + i / 4) + set(offset));
  for (; i < n; ++i) to[i] = scale * static_cast<float>(int4::quarter(codes, i)) + offset;
}

LANES_FN void expand_levels(const uint8_t* codes, size_t n, float scale, const float* level, float* to) {
  const Levels table = levels_at(level);
  size_t i = 0;
  for (; i + 16 <= n; i += 16) store(to + i, set(scale) * look_up(table, codes + i / 2));
  for (; i < n; ++i) to[i] = scale * level[int4::nibble(codes, i)];
}

LANES_FN void expand_multiply(const float* by, size_t n, float* to) {
  size_t i = 0;
  for (; i + 16 <= n; i += 16) store(to + i, load(to + i) * load(by + i));
  for (; i < n; ++i) to[i] *= by[i];
}

LANES_FN void expand_add(float by, const float* x, size_t n, float* to) {
  size_t i = 0;
  for (; i + 16 <= n; i += 16) store(to + i, load(to + i) + set(by) * load(x + i));
  for (; i < n; ++i) to[i] += by * x[i];
}

constexpr int4::Expanders kExpanders{expand_halves, expand_lines,    expand_bytes, expand_quarters,
                                     expand_levels, expand_multiply, expand_add};

}  // namespace
}  // namespace lissom::LANES
