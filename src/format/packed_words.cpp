#include "format/packed_words.h"

#include <algorithm>

namespace lissom {
namespace {

/// In tiles, so that both sides stay in cache.
template <class T>
std::vector<T> transpose(std::span<const T> in, int64_t rows, int64_t cols) {
  constexpr int64_t kTile = 64;
  std::vector<T> out(in.size());
  for (int64_t r0 = 0; r0 < rows; r0 += kTile)
    for (int64_t c0 = 0; c0 < cols; c0 += kTile)
      for (int64_t r = r0; r < std::min(rows, r0 + kTile); ++r)
        for (int64_t c = c0; c < std::min(cols, c0 + kTile); ++c)
          out[static_cast<size_t>(c * rows + r)] = in[static_cast<size_t>(r * cols + c)];
  return out;
}

}  // namespace

std::vector<uint32_t> pack_words(std::span<const uint8_t> values, int64_t rows, int64_t cols, int bits) {
  const int64_t of_row = packed_word_count(cols, bits);
  std::vector<uint32_t> words(static_cast<size_t>(rows * of_row));
  for (int64_t r = 0; r < rows; ++r) {
    const uint8_t* value = values.data() + r * cols;
    uint32_t* word = words.data() + r * of_row;
    uint64_t pending = 0;
    int filled = 0;
    for (int64_t c = 0; c < cols; ++c) {
      pending |= static_cast<uint64_t>(value[c]) << filled;
      filled += bits;
      if (filled < 32) continue;
      *word++ = static_cast<uint32_t>(pending);
      pending >>= 32;
      filled -= 32;
    }
    if (filled > 0) *word = static_cast<uint32_t>(pending);
  }
  return words;
}

std::vector<uint8_t> unpack_words(std::span<const uint32_t> words, int64_t rows, int64_t cols, int bits) {
  const int64_t of_row = packed_word_count(cols, bits);
  const uint32_t mask = (1U << bits) - 1;
  std::vector<uint8_t> values(static_cast<size_t>(rows * cols));
  for (int64_t r = 0; r < rows; ++r) {
    const uint32_t* word = words.data() + r * of_row;
    uint8_t* value = values.data() + r * cols;
    uint64_t pending = 0;
    int filled = 0;
    for (int64_t c = 0; c < cols; ++c) {
      if (filled < bits) {
        pending |= static_cast<uint64_t>(*word++) << filled;
        filled += 32;
      }
      value[c] = static_cast<uint8_t>(pending & mask);
      pending >>= bits;
      filled -= bits;
    }
  }
  return values;
}

std::vector<uint8_t> transposed(std::span<const uint8_t> in, int64_t rows, int64_t cols) {
  return transpose(in, rows, cols);
}
std::vector<uint32_t> transposed(std::span<const uint32_t> in, int64_t rows, int64_t cols) {
  return transpose(in, rows, cols);
}
std::vector<float> transposed(std::span<const float> in, int64_t rows, int64_t cols) {
  return transpose(in, rows, cols);
}

}  // namespace lissom
