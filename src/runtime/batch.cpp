#include "runtime/batch.h"

#include <string>

namespace lissom::runtime {
namespace {

Result<void> same_length(const Batch& batch) {
  const size_t n = batch.tokens.size();
  if (n == 0) return bad_input("batch: no tokens");
  const auto check = [n](size_t size, const char* what) -> Result<void> {
    if (size != 0 && size != n)
      return bad_input("batch: " + std::to_string(size) + " " + what + " for " + std::to_string(n) + " tokens");
    return {};
  };
  LISSOM_CHECK(check(batch.positions.size(), "positions"));
  LISSOM_CHECK(check(batch.sequences.size(), "sequences"));
  LISSOM_CHECK(check(batch.wanted.size(), "wanted flags"));
  return check(batch.token_types.size(), "token types");
}

tl::unexpected<Error> out_of_range(const char* what, size_t row, int64_t value, int64_t limit) {
  return bad_input("batch: " + std::string(what) + " " + std::to_string(value) + " of row " +
                   std::to_string(row) + " is not in 0 … " + std::to_string(limit - 1));
}

/// Where the row goes. `seen`: earlier rows of this batch are of the same sequence.
Result<int32_t> place(const Batch& batch, const BatchLimits& limits, size_t row, int32_t sequence, bool seen,
                      int64_t& length) {
  const int64_t given = batch.positions.empty() ? length : batch.positions[row];
  if (limits.causal) {
    // The first row of a sequence may step back: what the cache holds from there on is forgotten.
    if (given < 0 || given > length || (seen && given != length))
      return bad_input("batch: position " + std::to_string(given) + " of row " + std::to_string(row) +
                       ": sequence " + std::to_string(sequence) + " continues at " + std::to_string(length));
    length = given;
  }
  if (length >= limits.positions)
    return bad_input("context is full: sequence " + std::to_string(sequence) + " holds all of its " +
                     std::to_string(limits.positions) + " positions");
  ++length;
  if (given < 0 || given > INT32_MAX) return out_of_range("position", row, given, int64_t{INT32_MAX} + 1);
  if (limits.position_rows > 0 && given >= limits.position_rows)
    return bad_input("context is full: the model has positions 0 … " +
                     std::to_string(limits.position_rows - 1));
  return static_cast<int32_t>(given);
}

}  // namespace

void RowSet::find_segments() {
  segments.clear();
  for (size_t i = 0; i < sequences.size(); ++i) {
    if (segments.empty() || segments.back().sequence != sequences[i])
      segments.push_back({sequences[i], static_cast<int64_t>(i), 0});
    ++segments.back().count;
  }
}

void RowSet::keep_wanted() {
  for (size_t i = 0; i < wanted.size(); ++i) {
    positions[i] = positions[static_cast<size_t>(wanted[i])];
    sequences[i] = sequences[static_cast<size_t>(wanted[i])];
  }
  positions.resize(wanted.size());
  sequences.resize(wanted.size());
  find_segments();
}

std::vector<Batch> pieces_of(const Batch& batch) {
  const auto part = [&batch](size_t first, size_t count) {
    const auto of = [&](auto all) { return all.empty() ? all : all.subspan(first, count); };
    return Batch{of(batch.tokens), of(batch.positions), of(batch.sequences), of(batch.wanted),
                 of(batch.token_types)};
  };
  const size_t n = batch.tokens.size();
  std::vector<Batch> pieces;
  size_t begin = 0, sequence = 0;  // where the piece and its latest sequence begin
  for (size_t i = 1; i <= n; ++i) {
    if (i < n && (batch.sequences.empty() || batch.sequences[i] == batch.sequences[i - 1])) continue;
    if (i - begin > static_cast<size_t>(kPieceRows) && sequence > begin) {
      pieces.push_back(part(begin, sequence - begin));
      begin = sequence;
    }
    sequence = i;
  }
  pieces.push_back(part(begin, n - begin));
  return pieces;
}

Result<void> resolve(const Batch& batch, const BatchLimits& limits, std::span<const int64_t> lengths,
                     RowSet& rows) {
  LISSOM_CHECK(same_length(batch));
  const size_t n = batch.tokens.size();
  const auto n_sequences = static_cast<int64_t>(lengths.size());
  rows.tokens.assign(batch.tokens.begin(), batch.tokens.end());
  rows.positions.resize(n);
  rows.sequences.resize(n);
  rows.offsets.resize(n);
  rows.types.assign(n, 0);
  rows.wanted.clear();
  rows.lengths.assign(lengths.begin(), lengths.end());
  if (!limits.causal) rows.lengths.assign(lengths.size(), 0);
  rows.seen.assign(lengths.size(), 0);
  auto& seen = rows.seen;
  for (size_t i = 0; i < n; ++i) {
    const int32_t token = batch.tokens[i];
    if (token < 0 || token >= limits.vocab) return out_of_range("token", i, token, limits.vocab);
    const int32_t sequence = batch.sequences.empty() ? 0 : batch.sequences[i];
    if (sequence < 0 || sequence >= n_sequences) return out_of_range("sequence", i, sequence, n_sequences);
    const auto s = static_cast<size_t>(sequence);
    if (!limits.causal && seen[s] != 0 && rows.sequences[i - 1] != sequence)
      return bad_input("batch: the rows of sequence " + std::to_string(sequence) + " are not together");
    LISSOM_TRY(rows.positions[i], place(batch, limits, i, sequence, seen[s] != 0, rows.lengths[s]));
    rows.offsets[i] = seen[s] != 0 ? rows.offsets[i - 1] + 1 : 0;
    seen[s] = 1;
    rows.sequences[i] = sequence;
    if (!batch.token_types.empty() && limits.token_types > 0) {
      if (batch.token_types[i] < 0 || batch.token_types[i] >= limits.token_types)
        return out_of_range("token type", i, batch.token_types[i], limits.token_types);
      rows.types[i] = batch.token_types[i];
    }
    if (batch.wanted.empty() || batch.wanted[i] != 0) rows.wanted.push_back(static_cast<int64_t>(i));
  }
  rows.find_segments();
  return {};
}

}  // namespace lissom::runtime
