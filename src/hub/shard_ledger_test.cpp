#include "hub/shard_ledger.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace lissom::hub {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

/// What is begun now, in order, each followed by what it removes.
std::vector<std::vector<size_t>> begun(ShardLedger& ledger) {
  std::vector<std::vector<size_t>> steps;
  while (const auto step = ledger.begin()) {
    steps.push_back({step->fetch});
    steps.back().insert(steps.back().end(), step->remove.begin(), step->remove.end());
  }
  return steps;
}

TEST(ShardLedger, FetchesInTheOrderOfNeed) {
  ShardLedger ledger({10, 20, 30, 40});
  ledger.expect({2, 0, 2, 1});
  EXPECT_EQ(ledger.missing(), 60);
  EXPECT_THAT(begun(ledger), ElementsAre(ElementsAre(2), ElementsAre(0), ElementsAre(1)));
  EXPECT_EQ(ledger.used(), 60);
  EXPECT_FALSE(ledger.here(2));
  ledger.arrived(2);
  EXPECT_TRUE(ledger.here(2));
  EXPECT_EQ(ledger.missing(), 30);
}

TEST(ShardLedger, FetchesAheadOnlyIntoRoomThatNobodyNeeds) {
  ShardLedger ledger({10, 10, 10}, 20);
  ledger.expect({0, 0, 1, 2, 0});
  EXPECT_THAT(begun(ledger), ElementsAre(ElementsAre(0), ElementsAre(1)));
  ledger.arrived(0);
  ledger.arrived(1);
  ledger.read(0);
  ledger.read(0);
  EXPECT_THAT(begun(ledger), IsEmpty());  // 0 is needed again
  ledger.read(1);
  EXPECT_THAT(begun(ledger), ElementsAre(ElementsAre(2, 1)));
  ledger.arrived(2);
  ledger.read(2);
  EXPECT_FALSE(ledger.finished());
  ledger.read(0);
  EXPECT_TRUE(ledger.finished());
}

TEST(ShardLedger, GivesUpWhatIsNeededLastForWhatIsNeededNow) {
  ShardLedger ledger({10, 10, 10}, 20);
  ledger.expect({0, 1, 2, 0, 1});
  begun(ledger);
  ledger.arrived(0);
  ledger.arrived(1);
  ledger.read(0);
  EXPECT_THAT(begun(ledger), IsEmpty());
  ledger.read(1);
  EXPECT_THAT(begun(ledger), ElementsAre(ElementsAre(2, 1)));
  ledger.arrived(2);
  ledger.read(2);
  EXPECT_THAT(begun(ledger), ElementsAre(ElementsAre(1, 2)));  // a second time
}

TEST(ShardLedger, WhatTheCacheHasForGoodTakesNoRoom) {
  ShardLedger ledger({1000, 10, 10}, 10);
  ledger.keep(0);
  ledger.expect({0, 1, 0, 2});
  EXPECT_EQ(ledger.largest(), 1);
  EXPECT_EQ(ledger.missing(), 20);
  EXPECT_THAT(begun(ledger), ElementsAre(ElementsAre(1)));
  ledger.arrived(1);
  ledger.read(0);
  ledger.read(1);
  EXPECT_THAT(begun(ledger), ElementsAre(ElementsAre(2, 1)));
  EXPECT_TRUE(ledger.kept(0) && ledger.here(0));
}

TEST(ShardLedger, NothingLargerThanTheBound) {
  ShardLedger ledger({10, 30, 20}, 15);
  ledger.expect({0, 1});
  EXPECT_EQ(ledger.largest(), 1);
  EXPECT_THAT(begun(ledger), ElementsAre(ElementsAre(0)));
  ledger.arrived(0);
  ledger.read(0);
  EXPECT_THAT(begun(ledger), IsEmpty());
  EXPECT_TRUE(ledger.here(0));  // nothing is given up in vain
  ledger.expect({});
  EXPECT_EQ(ledger.largest(), ledger.size());
}

TEST(ShardLedger, WhatAnEarlierRunLeftBeyondTheBoundGoes) {
  ShardLedger ledger({10, 10, 10, 10}, 20);
  for (size_t i = 0; i < 4; ++i) ledger.arrived(i);
  ledger.expect({1, 3, 2});
  EXPECT_THAT(ledger.trim(), ElementsAre(0, 2));
  EXPECT_TRUE(ledger.here(1) && ledger.here(3));
  EXPECT_THAT(ledger.trim(), IsEmpty());
}

TEST(ShardLedger, AReadThatNobodyExpected) {
  ShardLedger ledger({10, 10, 10}, 10);
  ledger.expect({0, 1});
  EXPECT_THAT(begun(ledger), ElementsAre(ElementsAre(0)));
  ledger.arrived(0);
  ledger.demand(2);
  EXPECT_THAT(begun(ledger), ElementsAre(ElementsAre(2, 0)));
  ledger.arrived(2);
  ledger.demand(0);  // is expected: stays so
  ledger.read(2);
  EXPECT_THAT(begun(ledger), ElementsAre(ElementsAre(0, 2)));
}

TEST(ShardLedger, ForeseesWhatComesTwice) {
  ShardLedger ledger({10, 20, 30}, 30);
  ledger.expect({0, 0, 1, 2});
  EXPECT_EQ(ledger.repeated(), 0);
  EXPECT_EQ(ledger.comfortable(), 30);
  ledger.expect({0, 1, 2, 0, 1, 2});
  EXPECT_EQ(ledger.comfortable(), 60);
  EXPECT_GT(ledger.repeated(), 0);
  EXPECT_EQ(ledger.missing(), 60);  // foreseeing changes nothing
  EXPECT_EQ(ledger.used(), 0);
  ledger.set_bound(60);
  EXPECT_EQ(ledger.repeated(), 0);
}

/// Any sizes, orders, bounds and times of arrival: every read gets its shard, the bound is kept, and with the
/// room that comfortable() names nothing comes twice.
TEST(ShardLedger, EveryOrderComesToItsEnd) {
  std::mt19937 random(7);
  for (int round = 0; round < 400; ++round) {
    const auto pick = [&](size_t from, size_t to) { return from + random() % (to - from + 1); };
    std::vector<uint64_t> sizes(pick(1, 8));
    for (uint64_t& size : sizes) size = pick(1, 50);
    std::vector<size_t> reads(pick(1, 60));
    for (size_t& read : reads) read = pick(0, sizes.size() - 1);
    ShardLedger ledger(sizes, 1);
    ledger.expect(reads);
    const bool comfortable = round % 2 == 0;
    const uint64_t bound = comfortable ? ledger.comfortable() : sizes[ledger.largest()] + pick(0, 40);
    ledger.set_bound(bound);
    const uint64_t once = ledger.missing(), foreseen = ledger.repeated();
    uint64_t fetched = 0;
    std::vector<size_t> coming;
    for (const size_t shard : reads) {
      while (!ledger.here(shard)) {
        while (const auto step = ledger.begin()) {
          coming.push_back(step->fetch);
          fetched += sizes[step->fetch];
          ASSERT_LE(ledger.used(), bound);
        }
        ASSERT_FALSE(coming.empty()) << "nothing is coming, and " << shard << " is waited for";
        const auto first = coming.begin() + static_cast<std::ptrdiff_t>(pick(0, coming.size() - 1));
        ledger.arrived(*first);
        coming.erase(first);
      }
      ledger.read(shard);
    }
    EXPECT_TRUE(ledger.finished());
    if (comfortable) {
      EXPECT_EQ(fetched, once);
      EXPECT_EQ(foreseen, 0);
    }
  }
}

}  // namespace
}  // namespace lissom::hub
