#pragma once
// The functions that each target provides, and the layouts on which they and matmul.cpp agree.

#include <cstdint>

#include "kernels/blocks/registry.h"
#include "kernels/kernels.h"

namespace lissom::kernels {

/// Rows of a panel: one per 32-bit lane of a 512-bit vector.
constexpr int64_t kPanelRows = 16;

/// Tokens that a tile's arrays have room for: a tile of `count` tokens is padded to one of these.
constexpr int padded_tile(int64_t count) {
  return count <= 1 ? 1 : count <= 2 ? 2 : count <= 4 ? 4 : count <= 8 ? 8 : 12;
}

/// Bytes per token and group of 32 columns of an int8 input. A group of a tile of T tokens holds
///   int8  code[8][T][4]   x ≈ scale·code, four columns of a token together: one broadcast of a dot product
///   float scale[T]
///   float sum[T]          scale·Σcode
///   int32 minus[T]        -Σcode over 32 columns
///   int32 minus_half[2][T]  the same over each 16
constexpr int64_t kInt8GroupBytes = 52;

/// x, laid out tile after tile for the kernels. Tile i holds tokens i·tile … ; only the last may be short.
struct PreparedInput {
  int64_t m = 0, cols = 0, tile = 1;
  const float* x = nullptr;        ///< as given, m × cols
  const uint8_t* int8 = nullptr;   ///< [tile][group of 32 columns]
  const float* f32 = nullptr;      ///< [tile][column][T]
  const uint16_t* bf16 = nullptr;  ///< [tile][pair of columns][T][2], an odd last column padded with 0
};

/// One panel of 16 rows against tiles first … last-1 of the input. y: column of the panel's first row, m ×
/// stride. `rows` ≤ 16 of them are stored; bias: those rows' values, or null. Of integer codes: also two panels
/// that follow each other, where `rows` > 16.
using RunPanel = void (*)(const uint8_t* panel, const PreparedInput& x, int64_t first, int64_t last,
                          int64_t rows, const float* bias, float* y, int64_t stride);

/// How a prompt multiplies by panels of wider codes (WideOf<Format>), made once for all of its tokens.
struct Widening {
  void (*widen)(const uint8_t* panel, int64_t cols, uint8_t* out);  ///< null: nothing is won by it
  RunPanel run;
  int64_t (*bytes)(int64_t cols);  ///< of a panel
};

constexpr int64_t kKeyBlock = 64;

/// A part of attention(): the queries' heads that share a kv head, over some keys (a multiple of kKeyBlock
/// first).
struct AttentionTask {
  int64_t kv_head, first_query, last_query, first_key, last_key;
  /// Null: the task sees all keys and writes the result. Else per row (query, then head of the group) largest
  /// score, sum of exponentials, 14 unused, and the head's sums, padded to 32.
  float* partial;
};

/// A loop of one arithmetic instruction over registers: what probe.h times.
struct PeakKernel {
  void (*run)(int64_t rounds);  ///< null where the CPU has no such instruction
  int64_t ops;                  ///< of a round, two for each multiply-accumulate
};

struct KernelTable {
  int tile;
  /// Tokens first … first+count-1 of x into one tile.
  void (*prepare_int8)(const float* x, int64_t cols, int64_t count, uint8_t* out);
  RunPanel int8[BlockFormats::kSize];
  Widening widening[BlockFormats::kSize];
  /// F32 panels are [column][16] floats, F16 the same in halves, BF16 [pair of columns][16][2].
  RunPanel f32, f16, bf16;
  /// Null where the CPU has no BF16 dot product.
  void (*prepare_bf16)(const float* x, int64_t cols, int64_t count, uint16_t* out);
  RunPanel bf16_dot;
  RunPanel exact;  ///< as f32, with double sums

  void (*rms_norm)(const float* x, const float* weight, float eps, int64_t n, float* y);
  void (*layer_norm)(const float* x, const float* weight, const float* bias, float eps, int64_t n, float* y);
  void (*add)(const float* a, const float* b, int64_t n, float* y);
  void (*mul)(const float* a, const float* b, int64_t n, float* y);
  void (*silu)(const float* x, int64_t n, float* y);
  void (*silu_mul)(const float* gate, const float* up, int64_t n, float* y);
  void (*gelu)(const float* x, int64_t n, float* y);
  void (*gelu_tanh)(const float* x, int64_t n, float* y);
  void (*rope)(float* x, int64_t heads, int64_t head_dim, int64_t dim, bool interleaved, const float* cos,
               const float* sin);
  void (*cache_store)(CacheType type, const float* x, int64_t head_dim, std::byte* row);
  void (*attention)(const AttentionArgs& args, const AttentionTask& task, float* scratch);
  /// The same with products of BF16, or null where the CPU has none.
  void (*bf16_attention)(const AttentionArgs& args, const AttentionTask& task, float* scratch);
  /// Adds up the partial results of one row; the chunks lie `stride` floats apart.
  void (*attention_merge)(const float* partial, int64_t chunks, int64_t stride, int64_t head_dim, float* out);

  /// Loads `bytes`, a multiple of 256, and nothing else.
  void (*read_memory)(const uint8_t* p, int64_t bytes);
  PeakKernel int8_peak, f32_peak, bf16_peak;
};

namespace scalar_target {
void fill_int8(KernelTable& table);
void fill_float(KernelTable& table);
void fill_ops(KernelTable& table);
void fill_peaks(KernelTable& table);
}  // namespace scalar_target
namespace avx2_target {
void fill_int8(KernelTable& table);
void fill_float(KernelTable& table);
void fill_ops(KernelTable& table);
void fill_peaks(KernelTable& table);
}  // namespace avx2_target
namespace avx512_target {
void fill_bf16(KernelTable& table);
void fill_bf16_peak(KernelTable& table);
void fill_int8(KernelTable& table);
void fill_float(KernelTable& table);
void fill_ops(KernelTable& table);
void fill_peaks(KernelTable& table);
}  // namespace avx512_target
namespace neon_target {
void fill_int8(KernelTable& table);
void fill_float(KernelTable& table);
void fill_ops(KernelTable& table);
void fill_peaks(KernelTable& table);
}  // namespace neon_target
// Beside what neon has:
namespace neon_dotprod_target {
void fill_int8(KernelTable& table);
void fill_peaks(KernelTable& table);
}  // namespace neon_dotprod_target
namespace neon_i8mm_target {
void fill_int8(KernelTable& table);
void fill_peaks(KernelTable& table);
}  // namespace neon_i8mm_target

/// The target must be among supported_targets().
const KernelTable& kernel_table(Target target);

/// Layout of a panel of a block format: chunks of kChunkGroups groups of 32 columns, each the chunk's
/// parameters and then its codes, so that a matrix is read as one forward stream: the hardware's prefetchers
/// follow one at the full bandwidth of memory, and lose half of it where parameters and codes lie apart.
template <class Format>
struct PanelLayout {
  static constexpr int64_t kSubs = 32 / Format::kSub;
  static constexpr int64_t kFields = Format::kOffset ? 2 : 1;
  static_assert(Format::kSuper || kSubs == 1 || !Format::kOffset);
  static constexpr int64_t kCodeBytes = 64 * Format::kBits;  ///< of a group
  /// A plain chunk is two groups, so that f16 parameters of 16 rows fill whole cache lines; only the last may
  /// have one group less. A super chunk is a super-block.
  static constexpr int64_t kChunkGroups = Format::kSuper ? 8 : 2;
  static constexpr int64_t kScaleBytes = f32_scale<Format>() ? 64 : 32;  ///< of 16 rows
  /// Plain: per group and sub-block 16 scales (f16, or what kScaleBytes says), then per group 16 f16 offsets.
  /// Super: the same for d and m, once, then for each group and sub-block 16 int8 scales (16 uint8 minima).
  static constexpr int64_t kParamBytes =
      ((Format::kSuper ? kScaleBytes * kFields + 8 * kSubs * 16 * kFields : 2 * kScaleBytes * kFields * kSubs) +
       63) /
      64 * 64;
  static constexpr int64_t kChunkBytes = kParamBytes + kChunkGroups * kCodeBytes;
  static constexpr int64_t bytes(int64_t cols) {
    const int64_t groups = cols / 32;
    return (groups + kChunkGroups - 1) / kChunkGroups * kParamBytes + groups * kCodeBytes;
  }
};

}  // namespace lissom::kernels
