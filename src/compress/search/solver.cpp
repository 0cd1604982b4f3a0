#include "compress/search/solver.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace lissom::search {
namespace {

/// Smaller differences of damage are rounding.
constexpr double kEpsilon = 1e-12;

uint64_t least_of(const std::vector<Choice>& choices) {
  return std::ranges::min_element(choices, {}, &Choice::bytes)->bytes;
}

/// Pairs of more changes than this would take seconds.
constexpr size_t kMostPaired = 6000;

/// A change of one item.
struct Move {
  size_t item = 0, to = 0;
  int64_t bytes = 0;
  double damage = 0;
};

std::vector<Move> moves_of(const Items& items, const Picks& picks) {
  std::vector<Move> moves;
  for (size_t i = 0; i < items.size(); ++i) {
    const Choice& now = items[i][picks[i]];
    for (size_t j = 0; j < items[i].size(); ++j) {
      if (j == picks[i]) continue;
      moves.push_back({i, j, static_cast<int64_t>(items[i][j].bytes) - static_cast<int64_t>(now.bytes),
                       items[i][j].damage - now.damage});
    }
  }
  return moves;
}

}  // namespace

Choice total_of(const Items& items, const Picks& picks) {
  Choice total;
  for (size_t i = 0; i < items.size(); ++i) {
    total.bytes += items[i][picks[i]].bytes;
    total.damage += items[i][picks[i]].damage;
  }
  return total;
}

uint64_t least_bytes(const Items& items) {
  uint64_t bytes = 0;
  for (const auto& choices : items) bytes += least_of(choices);
  return bytes;
}

Knapsack::Knapsack(Items items, uint64_t most_bytes, int64_t cells)
    : items_(std::move(items)), least_(least_bytes(items_)) {
  if (most_bytes < least_) return;
  uint64_t divisor = 0, most = 0;
  for (const auto& choices : items_) {
    const uint64_t least = least_of(choices);
    uint64_t largest = 0;
    for (const Choice& c : choices) {
      divisor = std::gcd(divisor, c.bytes - least);
      largest = std::max(largest, c.bytes - least);
    }
    most += largest;
  }
  const uint64_t room = std::min(most_bytes - least_, most);
  divisor = std::max<uint64_t>(divisor, 1);
  unit_ = divisor * std::max<uint64_t>(
                        1, (room / divisor + static_cast<uint64_t>(cells) - 1) / static_cast<uint64_t>(cells));
  cells_ = static_cast<int64_t>(room / unit_);
  // Each rounding up may cost a unit, for which there is no room at the end: the richest plan must stay
  // possible.
  if (room == most) cells_ += static_cast<int64_t>(items_.size());
  best_.assign(static_cast<size_t>(cells_) + 1, 0.0);
  for (const auto& choices : items_) {
    const uint64_t least = least_of(choices);
    std::vector<int64_t> weights;
    weights.reserve(choices.size());
    for (const Choice& c : choices)
      weights.push_back(static_cast<int64_t>((c.bytes - least + unit_ - 1) / unit_));
    std::vector<double> next(best_.size(), std::numeric_limits<double>::infinity());
    std::vector<uint8_t> chosen(best_.size(), 0);
    for (size_t j = 0; j < choices.size(); ++j) {
      const double damage = choices[j].damage;
      for (int64_t c = weights[j]; c <= cells_; ++c) {
        const double sum = best_[static_cast<size_t>(c - weights[j])] + damage;
        if (sum < next[static_cast<size_t>(c)]) {
          next[static_cast<size_t>(c)] = sum;
          chosen[static_cast<size_t>(c)] = static_cast<uint8_t>(j);
        }
      }
    }
    best_ = std::move(next);
    weights_.push_back(std::move(weights));
    choices_.push_back(std::move(chosen));
  }
}

Picks Knapsack::picks_at(int64_t cell) const {
  Picks picks(items_.size());
  for (size_t i = items_.size(); i-- > 0;) {
    picks[i] = choices_[i][static_cast<size_t>(cell)];
    cell -= weights_[i][picks[i]];
  }
  return picks;
}

std::optional<Picks> Knapsack::within(uint64_t bytes) const {
  if (cells_ < 0 || bytes < least_) return std::nullopt;
  const uint64_t units = (bytes - least_) / unit_;
  Picks picks = picks_at(static_cast<int64_t>(std::min(units, static_cast<uint64_t>(cells_))));
  improve(items_, bytes, 64, picks);
  return picks;
}

std::optional<Picks> Knapsack::smallest(double damage) const {
  if (cells_ < 0) return std::nullopt;
  // best_ never rises.
  const auto it = std::partition_point(best_.begin(), best_.end(), [&](double d) { return d > damage; });
  if (it == best_.end()) return std::nullopt;
  return picks_at(it - best_.begin());
}

void improve(const Items& items, uint64_t bytes, int rounds, Picks& picks) {
  for (int round = 0; round < rounds; ++round) {
    const auto spare = static_cast<int64_t>(bytes) - static_cast<int64_t>(total_of(items, picks).bytes);
    const std::vector<Move> moves = moves_of(items, picks);
    double best = -kEpsilon;
    const Move *first = nullptr, *second = nullptr;
    for (const Move& a : moves) {
      if (a.bytes <= spare && a.damage < best) {
        best = a.damage;
        first = &a;
        second = nullptr;
      }
      if (a.damage >= 0 || moves.size() > kMostPaired) continue;  // one of a pair lessens the damage
      for (const Move& b : moves) {
        if (b.item == a.item || a.bytes + b.bytes > spare || a.damage + b.damage >= best) continue;
        best = a.damage + b.damage;
        first = &a;
        second = &b;
      }
    }
    if (first == nullptr) return;
    picks[first->item] = first->to;
    if (second != nullptr) picks[second->item] = second->to;
  }
}

}  // namespace lissom::search
