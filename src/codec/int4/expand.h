#pragma once
// Codes of a few bits to floats, a row at a time, for the best instruction set of this machine. The results do
// not depend on it.

#include <cstddef>
#include <cstdint>

namespace lissom::int4 {

/// Code i of 4 bits, or of 2, the first in the lowest bits of a byte.
[[nodiscard]] inline int nibble(const uint8_t* codes, size_t i) {
  return (codes[i / 2] >> (4 * (i % 2))) & 15;
}
[[nodiscard]] inline int quarter(const uint8_t* codes, size_t i) {
  return (codes[i / 4] >> (2 * (i % 4))) & 3;
}

/// Groups of a row: each with a scale and an offset.
struct Lines {
  const uint8_t* codes;  ///< 4 bits each
  size_t columns, group;
  const float *scales, *offsets;  ///< of the groups
};

/// Any n; codes begin at a whole byte.
struct Expanders {
  /// F16 to F32; from: 2·n bytes.
  void (*halves)(const std::byte* from, size_t n, float* to);
  /// to[i] = scale·code + offset of its group.
  void (*lines)(const Lines& lines, float* to);
  /// The same of `n` codes of 8 or 2 bits on one line.
  void (*bytes)(const uint8_t* codes, size_t n, float scale, float offset, float* to);
  void (*quarters)(const uint8_t* codes, size_t n, float scale, float offset, float* to);
  /// to[i] = scale·level[code], 4 bits.
  void (*levels)(const uint8_t* codes, size_t n, float scale, const float* level, float* to);
  /// to[i] *= by[i].
  void (*multiply)(const float* by, size_t n, float* to);
  /// to[i] += by·x[i].
  void (*add)(float by, const float* x, size_t n, float* to);
};
[[nodiscard]] const Expanders& expanders();
[[nodiscard]] const Expanders& portable_expanders();
[[nodiscard]] const Expanders& avx2_expanders();
[[nodiscard]] const Expanders& avx512_expanders();
[[nodiscard]] const Expanders& neon_expanders();

}  // namespace lissom::int4
