#include "compress/search/solver.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "support/random.h"

namespace lissom::search {
namespace {

using testing::Random;

/// Items whose damage falls as their bytes grow, as codecs have it; one of them may be far larger.
Items random_items(Random& random, size_t count, size_t choices, double largest) {
  Items items(count);
  for (size_t i = 0; i < count; ++i) {
    const double size = i == 0 ? largest : 1.0;
    const double sensitivity = std::exp(3.0 * random.uniform());
    for (size_t j = 0; j < choices; ++j) {
      const double bits = 2 + 1.5 * static_cast<double>(j) + 0.4 * random.uniform();
      items[i].push_back({static_cast<uint64_t>(size * bits * 1000), size * sensitivity * std::pow(4, -bits)});
    }
  }
  return items;
}

/// All plans.
template <class Function>
void each_plan(const Items& items, Function f) {
  Picks picks(items.size(), 0);
  for (;;) {
    f(picks, total_of(items, picks));
    size_t i = 0;
    while (i < items.size() && ++picks[i] == items[i].size()) picks[i++] = 0;
    if (i == items.size()) return;
  }
}

double brute_force(const Items& items, uint64_t bytes) {
  double best = std::numeric_limits<double>::infinity();
  each_plan(items, [&](const Picks&, const Choice& total) {
    if (total.bytes <= bytes) best = std::min(best, total.damage);
  });
  return best;
}

/// The rejected alternative: the multiplier whose plan fits and is largest.
double lagrangian(const Items& items, uint64_t bytes) {
  double low = 0, high = 1, best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < 200; ++i) {
    const double multiplier = (low + high) / 2;
    Picks picks(items.size());
    for (size_t k = 0; k < items.size(); ++k) {
      const auto cost = [&](size_t j) {
        return items[k][j].damage + multiplier * static_cast<double>(items[k][j].bytes);
      };
      for (size_t j = 1; j < items[k].size(); ++j)
        if (cost(j) < cost(picks[k])) picks[k] = j;
    }
    const Choice total = total_of(items, picks);
    if (total.bytes <= bytes) best = std::min(best, total.damage);
    (total.bytes <= bytes ? high : low) = multiplier;
  }
  return best;
}

uint64_t middle(const Items& items, double share) {
  uint64_t most = 0;
  for (const auto& choices : items) most += choices.back().bytes;
  const uint64_t least = least_bytes(items);
  return least + static_cast<uint64_t>(share * static_cast<double>(most - least));
}

TEST(Solver, FindsWhatAllPlansHave) {
  Random random(3);
  for (int round = 0; round < 40; ++round) {
    const Items items = random_items(random, 6, 5, round % 2 == 0 ? 1.0 : 8.0);
    const uint64_t bytes = middle(items, 0.1 + 0.02 * round);
    // Exact: a cell for every byte. Coarse: 1024 for all.
    for (const int64_t cells : {int64_t{1} << 20, int64_t{1024}}) {
      const Knapsack knapsack(items, bytes, cells);
      const auto picks = knapsack.within(bytes);
      ASSERT_TRUE(picks);
      const Choice total = total_of(items, *picks);
      EXPECT_LE(total.bytes, bytes);
      const double best = brute_force(items, bytes);
      EXPECT_GE(total.damage, best * (1 - 1e-9));
      EXPECT_LE(total.damage, best * (cells > 1024 ? 1 + 1e-9 : 1.3));
    }
  }
}

TEST(Solver, AMultiplierLeavesRoomUnusedWhereOneItemIsLarge) {
  Random random(5);
  double program = 0, multiplier = 0;
  for (int round = 0; round < 30; ++round) {
    const Items items = random_items(random, 6, 5, 8.0);
    const uint64_t bytes = middle(items, 0.1 + 0.025 * round);
    const double best = brute_force(items, bytes);
    const Knapsack knapsack(items, bytes);
    program += total_of(items, *knapsack.within(bytes)).damage / best;
    multiplier += lagrangian(items, bytes) / best;
  }
  EXPECT_LT(program / 30, 1.001);
  EXPECT_GT(multiplier / 30, 1.1);
}

TEST(Solver, FindsTheFewestBytes) {
  Random random(9);
  for (int round = 0; round < 20; ++round) {
    const Items items = random_items(random, 6, 4, 3.0);
    const uint64_t most = middle(items, 1.0);
    const double damage = brute_force(items, middle(items, 0.05 * (round + 1)));
    uint64_t fewest = most;
    each_plan(items, [&](const Picks&, const Choice& total) {
      if (total.damage <= damage) fewest = std::min(fewest, total.bytes);
    });
    const Knapsack knapsack(items, most, int64_t{1} << 20);
    const auto picks = knapsack.smallest(damage * (1 + 1e-12));
    ASSERT_TRUE(picks);
    EXPECT_EQ(total_of(items, *picks).bytes, fewest);
    // The richest plan is possible however coarse the cells are.
    double least = 0;
    for (const auto& choices : items) {
      double one = choices[0].damage;
      for (const Choice& c : choices) one = std::min(one, c.damage);
      least += one;
    }
    EXPECT_TRUE(Knapsack(items, most, 16).smallest(least * (1 + 1e-12)));
    EXPECT_FALSE(knapsack.smallest(least * 0.9));
  }
}

TEST(Solver, RefusesWhatDoesNotFit) {
  const Items items = {{{100, 2}, {200, 1}}, {{50, 1}}};
  EXPECT_EQ(least_bytes(items), 150U);
  EXPECT_FALSE(Knapsack(items, 149).within(149));
  EXPECT_FALSE(Knapsack(items, 149).smallest(10));
  const Knapsack tight(items, 150);
  EXPECT_EQ(*tight.within(150), (Picks{0, 0}));
  EXPECT_FALSE(tight.within(149));
  EXPECT_EQ(*Knapsack(items, 1000).within(1000), (Picks{1, 0}));
}

TEST(Solver, ExchangesUseWhatIsLeft) {
  // From the first choices: the second item pays for the first one's growth.
  const Items items = {{{10, 9}, {30, 1}}, {{30, 1}, {15, 2}}, {{5, 1}}};
  Picks picks = {0, 0, 0};
  improve(items, 50, 8, picks);
  EXPECT_EQ(picks, (Picks{1, 1, 0}));
}

}  // namespace
}  // namespace lissom::search
