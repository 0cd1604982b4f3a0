#include "base/threads.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace lissom {
namespace {

TEST(ThreadPool, PhysicalCoresIsPositive) {
  EXPECT_GE(physical_cores(), 1);
}

TEST(ThreadPool, CoversEachIndexOnce) {
  for (int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.size(), threads);
    for (int64_t n : {0, 1, 2, 7, 64, 1000}) {
      for (int64_t grain : {1, 3, 64, 5000}) {
        std::vector<int> hits(static_cast<size_t>(n));
        pool.parallel_for(n, grain, [&](int64_t begin, int64_t end, int worker) {
          EXPECT_LT(begin, end);
          EXPECT_EQ(begin % grain, 0);
          EXPECT_GE(worker, 0);
          EXPECT_LT(worker, threads);
          for (int64_t i = begin; i < end; ++i) ++hits[static_cast<size_t>(i)];
        });
        for (int h : hits) EXPECT_EQ(h, 1);
      }
    }
  }
}

TEST(ThreadPool, ManyShortLoopsWithMoreThreadsThanCores) {
  ThreadPool pool(physical_cores() * 4);
  std::vector<int64_t> sums(64);
  for (int64_t round = 0; round < 2000; ++round) {
    pool.parallel_for(64, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) sums[static_cast<size_t>(i)] += round;
    });
  }
  for (int64_t s : sums) EXPECT_EQ(s, 2000 * 1999 / 2);
}

TEST(ThreadPool, WakesSleepingWorkers) {
  ThreadPool pool(4);
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(3));  // longer than the workers spin
    std::atomic<int> arrived{0};
    std::atomic<bool> all{false};
    // Each index waits for all four, so the loop ends only if every worker wakes.
    pool.parallel_for(4, 1, [&](int64_t, int64_t, int) {
      if (arrived.fetch_add(1) == 3) all.store(true);
      while (!all.load()) std::this_thread::yield();
    });
    EXPECT_EQ(arrived.load(), 4);
  }
}

TEST(ThreadPool, TwoPoolsAtOnce) {
  std::atomic<int64_t> total{0};
  auto job = [&] {
    ThreadPool pool(2);
    for (int i = 0; i < 200; ++i) {
      pool.parallel_for(10, 1, [&](int64_t begin, int64_t end, int) { total.fetch_add(end - begin); });
    }
  };
  std::thread a(job), b(job);
  a.join();
  b.join();
  EXPECT_EQ(total.load(), 2 * 200 * 10);
}

}  // namespace
}  // namespace lissom
