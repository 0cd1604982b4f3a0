#pragma once
// A batch, checked: every row with its token, position and sequence.

#include <cstdint>
#include <span>
#include <vector>

#include "lissom/runtime.h"

namespace lissom::runtime {

/// Neighbouring rows of one sequence.
struct Segment {
  int32_t sequence = 0;
  int64_t first = 0, count = 0;
};

/// What a batch must respect.
struct BatchLimits {
  int64_t vocab = 0, positions = 0;  ///< of each sequence
  int64_t token_types = 0;           ///< 0: the model has none
  int64_t position_rows = 0;         ///< rows of the table of positions; 0: the model has none
  bool causal = true;                ///< encoders run whole sequences, each in one piece
};

/// Rows in the order of the batch. Reused between runs.
struct RowSet {
  std::vector<int32_t> tokens, positions, sequences, types;
  std::vector<int32_t> offsets;  ///< encoders: of each row within its sequence
  std::vector<int64_t> wanted;   ///< indices of wanted rows, ascending
  std::vector<int64_t> lengths;  ///< of every sequence once the batch has run
  std::vector<Segment> segments;
  std::vector<uint8_t> seen;  ///< scratch of resolve()
  [[nodiscard]] int64_t count() const { return static_cast<int64_t>(tokens.size()); }
  void find_segments();
  /// Keeps the wanted rows' positions and sequences.
  void keep_wanted();
};

/// Fills `rows`; `lengths` are the positions that each sequence holds now.
[[nodiscard]] Result<void> resolve(const Batch& batch, const BatchLimits& limits,
                                   std::span<const int64_t> lengths, RowSet& rows);

/// Encoders run whole sequences of so many rows together, and not a batch of more at once: its activations
/// would go out to memory between one step and the next.
inline constexpr int64_t kPieceRows = 512;
/// The batch in pieces of whole sequences, each of kPieceRows at most or of one sequence.
[[nodiscard]] std::vector<Batch> pieces_of(const Batch& batch);

}  // namespace lissom::runtime
