#include "base/threads.h"

#include <sched.h>

#include <algorithm>
#include <condition_variable>
#include <fstream>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace lissom {

namespace {

int read_topology(int cpu, const char* field) {
  std::ifstream in("/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/" + field);
  int value = -1;
  return in >> value ? value : -1;
}

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

// `word` holds the loop's number (upper half), whether it still takes workers, and how many are inside. A
// worker enters by raising the count while the loop is open, so a worker that wakes late is never waited for:
// with more threads than cores, the loop ends as soon as those who took a part are done.
constexpr uint64_t kOpen = 1ULL << 31;
constexpr uint64_t kCount = kOpen - 1;
constexpr uint64_t kLoop = 1ULL << 32;

}  // namespace

int physical_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return std::max(1U, std::thread::hardware_concurrency());
  std::set<std::pair<int, int>> cores;
  int allowed = 0;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &set)) continue;
    ++allowed;
    const int core = read_topology(cpu, "core_id");
    cores.emplace(read_topology(cpu, "physical_package_id"), core < 0 ? 1'000'000 + cpu : core);
  }
  return allowed == 0 ? 1 : static_cast<int>(cores.size());
}

struct ThreadPool::State {
  alignas(64) std::atomic<uint64_t> word{0};
  alignas(64) std::atomic<int64_t> next{0};
  alignas(64) std::atomic<int> sleepers{0};
  std::atomic<bool> stop{false};
  std::mutex mutex;
  std::condition_variable wake;

  // The loop; written while nobody is inside, published by `word`.
  int64_t n = 0, grain = 1;
  const std::function<void(int64_t, int64_t, int)>* body = nullptr;

  int spins = 0;
  std::vector<std::thread> threads;

  void work(int worker) {
    for (;;) {
      const int64_t begin = next.fetch_add(grain, std::memory_order_relaxed);
      if (begin >= n) return;
      (*body)(begin, std::min(n, begin + grain), worker);
    }
  }

  bool waiting(uint64_t seen) const {
    const uint64_t w = word.load(std::memory_order_seq_cst);
    return ((w & kOpen) == 0 || w / kLoop == seen) && !stop.load(std::memory_order_relaxed);
  }

  void wait_for_loop(uint64_t seen) {
    for (int i = 0; i < spins; ++i) {
      if (!waiting(seen)) return;
      pause();
    }
    std::unique_lock lock(mutex);
    sleepers.fetch_add(1, std::memory_order_seq_cst);
    wake.wait(lock, [&] { return !waiting(seen); });
    sleepers.fetch_sub(1, std::memory_order_seq_cst);
  }

  void run(int worker) {
    uint64_t seen = 0;
    for (;;) {
      wait_for_loop(seen);
      if (stop.load(std::memory_order_relaxed)) return;
      uint64_t w = word.load(std::memory_order_acquire);
      while ((w & kOpen) != 0 && w / kLoop != seen) {
        if (!word.compare_exchange_weak(w, w + 1, std::memory_order_acquire)) continue;
        seen = w / kLoop;
        work(worker);
        word.fetch_sub(1, std::memory_order_release);
        break;
      }
    }
  }
};

ThreadPool::ThreadPool(int threads) : state_(std::make_unique<State>()) {
  const int cores = physical_cores();
  const int n = std::clamp(threads <= 0 ? cores : threads, 1, 1024);
  // About 50 µs where each worker has a core of its own; more threads than cores must give way at once.
  state_->spins = n <= cores ? 2000 : 20;
  state_->threads.reserve(static_cast<size_t>(n - 1));
  for (int i = 1; i < n; ++i) state_->threads.emplace_back([s = state_.get(), i] { s->run(i); });
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stop.store(true, std::memory_order_relaxed);
  }
  state_->wake.notify_all();
  for (auto& t : state_->threads) t.join();
}

int ThreadPool::size() const {
  return static_cast<int>(state_->threads.size()) + 1;
}

void ThreadPool::parallel_for(int64_t n, int64_t grain,
                              const std::function<void(int64_t, int64_t, int)>& body) {
  if (n <= 0) return;
  grain = std::max<int64_t>(grain, 1);
  if (state_->threads.empty() || n <= grain) return body(0, n, 0);
  State& s = *state_;
  s.n = n;
  s.grain = grain;
  s.body = &body;
  s.next.store(0, std::memory_order_relaxed);
  const uint64_t loop = s.word.load(std::memory_order_relaxed) / kLoop + 1;
  s.word.store(loop * kLoop | kOpen, std::memory_order_seq_cst);
  if (s.sleepers.load(std::memory_order_seq_cst) > 0) {
    // Taking the lock orders this with a worker between its last look at `word` and its sleep.
    { const std::lock_guard lock(s.mutex); }
    s.wake.notify_all();
  }
  s.work(0);
  s.word.fetch_and(~kOpen, std::memory_order_acq_rel);
  for (int i = 0; (s.word.load(std::memory_order_acquire) & kCount) != 0; ++i) {
    if (i < s.spins) {
      pause();
    } else {
      std::this_thread::yield();
    }
  }
}

}  // namespace lissom
