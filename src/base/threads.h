#pragma once
// A pool of threads that split one loop at a time.

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

namespace lissom {

/// Number of physical cores that this process may run on.
[[nodiscard]] int physical_cores();

/// The calling thread works too, so a pool of 1 starts no thread. Workers spin briefly, then sleep.
class ThreadPool {
 public:
  explicit ThreadPool(int threads);  ///< 0: physical_cores()
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  [[nodiscard]] int size() const;
  /// Calls body(begin, end, worker) for ranges that cover [0, n) once, each a multiple of `grain` long but the
  /// last; returns when all are done. Ranges are handed out dynamically: a result must not depend on which
  /// worker had one. body must not throw, nor call parallel_for of the same pool.
  void parallel_for(int64_t n, int64_t grain, const std::function<void(int64_t, int64_t, int)>& body);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lissom
