#pragma once
// Packing and unpacking of panels in plain C++: runs once per load and once per embedded token.

#include "kernels/table.h"

namespace lissom::kernels {

/// What a codec's panels are, for one index of BlockFormats.
struct BlockPacker {
  const char* codec;
  int64_t block_weights, block_bytes;
  int64_t (*panel_bytes)(int64_t cols);
  /// rows ≤ 16 rows of blocks, row_bytes apart, into one zeroed panel.
  void (*pack_panel)(const std::byte* rows, int64_t row_bytes, int64_t n_rows, int64_t cols, uint8_t* panel);
  void (*unpack_row)(const uint8_t* panel, int64_t lane, int64_t cols, float* out);
};
/// In the order of BlockFormats.
std::span<const BlockPacker> block_packers();

}  // namespace lissom::kernels
