#pragma once
// The multiple-choice knapsack behind the search: one choice for each item, the least damage within so many
// bytes, or the fewest bytes within so much damage.
//
// Solved by dynamic programming over quantized sizes (Kellerer, Pferschy, Pisinger, "Knapsack Problems", 2004,
// chapter 11), and not by a Lagrange multiplier: a multiplier finds only plans on the lower convex hull, and
// where one tensor holds a fifth of the model (a token embedding) the hull has gaps of percents of the file,
// which solver_test.cpp shows. One pass of the program also gives every smaller budget.

#include <cstdint>
#include <optional>
#include <vector>

namespace lissom::search {

struct Choice {
  uint64_t bytes = 0;
  double damage = 0;  ///< ≥ 0, finite
};
/// The choices of each item, at least one and at most 256.
using Items = std::vector<std::vector<Choice>>;
/// For each item the index of its choice.
using Picks = std::vector<size_t>;

/// Sums over all items.
[[nodiscard]] Choice total_of(const Items& items, const Picks& picks);
/// The fewest bytes that are possible.
[[nodiscard]] uint64_t least_bytes(const Items& items);

class Knapsack {
 public:
  /// Budgets up to `most_bytes` can be asked for. Sizes above the least are rounded up to a multiple of
  /// 1/`cells` of the room that there is (or not at all, where they have a common divisor that fits).
  Knapsack(Items items, uint64_t most_bytes, int64_t cells = int64_t{1} << 15);

  /// The least damage within `bytes`, then improved by exchanges in exact bytes. Nothing where even the
  /// smallest choices do not fit.
  [[nodiscard]] std::optional<Picks> within(uint64_t bytes) const;
  /// The fewest bytes with at most this damage, up to the quantum. Nothing where most_bytes does not allow it.
  [[nodiscard]] std::optional<Picks> smallest(double damage) const;

  [[nodiscard]] const Items& items() const { return items_; }

 private:
  [[nodiscard]] Picks picks_at(int64_t cell) const;

  Items items_;
  uint64_t least_ = 0, unit_ = 1;
  int64_t cells_ = -1;                         ///< the largest cell; -1: nothing fits
  std::vector<std::vector<int64_t>> weights_;  ///< of each choice, in units above its item's least
  std::vector<double> best_;                   ///< least damage within i units
  std::vector<std::vector<uint8_t>> choices_;  ///< by item and cell
};

/// Changes of one item, or of two at once, that lessen the damage and stay within `bytes`, until there are
/// none or `rounds` are done.
void improve(const Items& items, uint64_t bytes, int rounds, Picks& picks);

}  // namespace lissom::search
