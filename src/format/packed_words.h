#pragma once
// Numbers of a few bits in 32-bit words: what GPTQ, AWQ and compressed-tensors store as I32. Within a row of a
// matrix they follow each other from the lowest bit of the first word on; one may begin in a word and end in
// the next, as those of 3 bits do. A row's last word is filled with zeros.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace lissom {

/// Words of a row of `count` numbers.
[[nodiscard]] constexpr int64_t packed_word_count(int64_t count, int bits) {
  return (count * bits + 31) / 32;
}
/// values: rows × cols, each below 2^bits. Result: rows × packed_word_count(cols, bits).
[[nodiscard]] std::vector<uint32_t> pack_words(std::span<const uint8_t> values, int64_t rows, int64_t cols,
                                               int bits);
/// The inverse; words: rows × packed_word_count(cols, bits).
[[nodiscard]] std::vector<uint8_t> unpack_words(std::span<const uint32_t> words, int64_t rows, int64_t cols,
                                                int bits);

/// in: rows × cols; result: cols × rows.
[[nodiscard]] std::vector<uint8_t> transposed(std::span<const uint8_t> in, int64_t rows, int64_t cols);
[[nodiscard]] std::vector<uint32_t> transposed(std::span<const uint32_t> in, int64_t rows, int64_t cols);
[[nodiscard]] std::vector<float> transposed(std::span<const float> in, int64_t rows, int64_t cols);

}  // namespace lissom
