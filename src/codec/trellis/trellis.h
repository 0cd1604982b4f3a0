#pragma once
// Trellis-coded weights with a rate of their own for every column: the codecs lissom_2_v1 … lissom_4_v1.
//
// The idea is QTIP's (arXiv 2406.11235): a weight's value depends on the last `window` bits of a stream to
// which each weight adds k, so that a Viterbi search over 2^window states finds a point of a very
// high-dimensional codebook, while decoding stays one table lookup per weight, in any order. What differs here:
// - The stream runs down a column, and k is chosen per column, 0 … 8 bits: reverse water-filling of the
//   importance of the column times its variance. A rotation would spread the importance evenly, which costs the
//   ratio of the arithmetic to the geometric mean of exactly these numbers (two to thirty in real models).
//   Rows and columns are scaled to unit variance instead, and the few weights past the codebook are kept in
//   F16.
// - The codebook is the Gaussian's quantiles in an order in which the 2^k successors of every state cover the
//   distribution evenly, for every k at once (table.cpp). The same states give a lower error than codebooks of
//   hashed sums.
// - A stream goes on from column to column, so that only the first has a start without history: no bits for an
//   initial state, no tail-biting.
//
// Layout. Rows are cut into blocks of equal height h, a multiple of 8 and at most 256 (rows that pad the last
// block mean nothing); B = the sum of the columns' rates.
//   codes          U8  [blocks, 4 + h·B/8]  4 bytes of 0, then the streams, column after column, bits from the
//                                           lowest of each byte
//   rates          U8  [(cols+1)/2]         two columns a byte, the first in the low half
//   columns        U8  [cols]               scale of the column: 2^((code - 255) / 8); 0 means 0
//   rows           F16 [rows]               scale of the row
//   outlier_index  U32 [blocks, n]          row in the block · cols + column, ascending; 0xffffffff: none
//   outliers       F16 [blocks, n]          the weights there, n = ceil(h·cols / 2048)
// ŵ = (row scale · column scale) · table[state]; state: the `window` bits that end with the weight's own k, the
// oldest lowest. A column of rate 0 is zero.

#include <cstdint>
#include <span>
#include <vector>

#include "lissom/codec.h"

namespace lissom::trellis {

inline constexpr int kMaxRate = 8;
inline constexpr int64_t kMaxHeight = 256;
inline constexpr uint32_t kNoOutlier = 0xffffffffU;

/// Where everything lies for a shape and an average rate.
struct Geometry {
  int64_t rows = 0, cols = 0;
  int64_t blocks = 0, height = 0;
  int64_t rate_sum = 0;      ///< B
  int64_t stream_bytes = 0;  ///< of a block's codes
  int64_t outliers = 0;      ///< of a block
};
/// half_bits: twice the average rate.
[[nodiscard]] Geometry geometry(const Shape& shape, int half_bits);

/// Values of the states by their bits, oldest lowest; 2^window floats.
[[nodiscard]] const float* state_values(int window);
/// The same by the search's number of a state: newest bits lowest.
[[nodiscard]] const float* search_values(int window);
/// Mean squared error of unit Gaussian weights at this rate.
[[nodiscard]] double distortion(int rate);
/// The scale that a column's code stands for.
[[nodiscard]] float column_scale(uint8_t code);
/// The nearest code.
[[nodiscard]] uint8_t column_code(float scale);

/// Rates with sum `total` that minimise Σ cost_j · distortion(rate_j). costs ≥ 0.
[[nodiscard]] std::vector<uint8_t> choose_rates(std::span<const double> costs, int64_t total);

/// One step of the search: the best of the 2^rate states before each state after it.
struct Step {
  int window, rate;
  const float* values;  ///< search_values()
  float x, weight;      ///< adds weight · (x - value)²
};

/// What rows of a decoded block are made from.
struct RowStreams {
  const uint8_t* codes;  ///< of the block
  const uint8_t* end;    ///< of all blocks' codes
  const float* values;   ///< state_values()
  int window;
  int64_t cols;
  const uint32_t* begin;  ///< bit of each column's stream, from `codes`
  const int32_t* rates;
  const float* scales;  ///< of the columns
};

/// What differs between instruction sets; the results do not.
struct Kernels {
  /// costs, next: 2^window values; merged: room for 2^window; from: 2^(window - rate) choices.
  void (*step)(const Step& step, const float* costs, float* next, float* merged, uint8_t* from);
  void (*decode_row)(const RowStreams& streams, int64_t row, float row_scale, float* out);
  /// Rows row … row+count-1, at most 16, into out[column·16 + i]; row_scales: of these rows.
  void (*decode_panel)(const RowStreams& streams, int64_t row, int64_t count, const float* row_scales,
                       float* out);
};
[[nodiscard]] const Kernels& kernels();
[[nodiscard]] const Kernels& scalar_kernels();

/// Finds the best bits for a run of weights that goes on from `state`, and that state's successor.
class Search {
 public:
  explicit Search(int window);
  void begin(uint32_t state);
  /// The next weight: rate ≥ 1.
  void add(int rate, float x, float weight);
  /// Traces the best path back. Of the first `kept` weights, at least one: codes[i] are the newest bits of
  /// weight i, values[i] its value; the result is the state after them. Those after them only tell which state
  /// is good.
  uint32_t end(size_t kept, uint8_t* codes, float* values);

 private:
  int window_;
  std::vector<float> costs_, next_, merged_;
  std::vector<uint8_t> from_;
  std::vector<uint8_t> rates_;
  std::vector<size_t> offsets_;
};

}  // namespace lissom::trellis
