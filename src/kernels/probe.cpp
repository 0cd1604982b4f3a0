#include "kernels/probe.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <string>

#include "kernels/table.h"

namespace lissom::kernels {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

/// The highest rate, units per second, of passes of `units` each, repeated for `seconds` and at least thrice.
template <class Pass>
double best_rate(double seconds, double units, Pass pass) {
  double best = 0;
  const auto start = Clock::now();
  for (int passes = 0; passes < 3 || seconds_since(start) < seconds; ++passes) {
    const auto begin = Clock::now();
    pass();
    best = std::max(best, units / std::max(seconds_since(begin), 1e-9));
  }
  return best;
}

constexpr int64_t kPiece = int64_t{1} << 20;  ///< bytes that a thread reads at a time

int64_t default_buffer() {
  int64_t cache = 0;
#if defined(_SC_LEVEL3_CACHE_SIZE)
  cache = std::max<int64_t>(sysconf(_SC_LEVEL3_CACHE_SIZE), 0);
#endif
  return std::clamp(cache * 8, int64_t{256} << 20, int64_t{1} << 30);
}

Result<double> probe_memory(const KernelTable& table, ThreadPool& pool, double seconds, int64_t buffer) {
  const int64_t pieces = std::max<int64_t>(buffer / kPiece, 1), bytes = pieces * kPiece;
  const auto size = static_cast<size_t>(bytes);
  void* p = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) return io_error("out of memory: the probe reads " + std::to_string(bytes) + " bytes");
  const auto unmap = [size](void* mapping) { munmap(mapping, size); };
  const std::unique_ptr<void, decltype(unmap)> mapping(p, unmap);
  (void)madvise(p, size, MADV_HUGEPAGE);  // as weights lie; without it everything works, slower
  auto* data = static_cast<uint8_t*>(p);
  // Pages that nobody wrote to are all the same one.
  pool.parallel_for(pieces, 1, [&](int64_t begin, int64_t end, int) {
    std::memset(data + begin * kPiece, 1, static_cast<size_t>((end - begin) * kPiece));
  });
  return best_rate(seconds, static_cast<double>(bytes), [&] {
    pool.parallel_for(pieces, 1, [&](int64_t begin, int64_t end, int) {
      table.read_memory(data + begin * kPiece, (end - begin) * kPiece);
    });
  });
}

double probe_peak(const PeakKernel& kernel, ThreadPool& pool, double seconds) {
  if (kernel.run == nullptr) return 0;
  // Passes short enough that some are not interrupted, long enough that starting the threads does not count.
  constexpr double kPass = 4e-3;
  constexpr int64_t kFirst = 1000;
  const double one = best_rate(0, static_cast<double>(kFirst), [&] { kernel.run(kFirst); });
  const int64_t rounds = std::max(kFirst, static_cast<int64_t>(one * kPass));
  const auto units = static_cast<double>(pool.size() * rounds * kernel.ops);
  return best_rate(seconds, units, [&] {
    pool.parallel_for(pool.size(), 1,
                      [&](int64_t begin, int64_t end, int) { kernel.run((end - begin) * rounds); });
  });
}

}  // namespace

Result<MachineLimits> probe_machine(Target target, ThreadPool& pool, const ProbeOptions& options) {
  const KernelTable& table = kernel_table(target);
  const int64_t buffer = options.buffer_bytes > 0 ? options.buffer_bytes : default_buffer();
  // Arithmetic soon shows its peak; memory is shared with whatever else the host runs, and has its moments.
  const double each = options.seconds / 10;
  MachineLimits limits;
  LISSOM_TRY(limits.read_bytes_per_second, probe_memory(table, pool, 7 * each, buffer));
  limits.int8_ops_per_second = probe_peak(table.int8_peak, pool, each);
  limits.f32_ops_per_second = probe_peak(table.f32_peak, pool, each);
  limits.bf16_ops_per_second = probe_peak(table.bf16_peak, pool, each);
  return limits;
}

}  // namespace lissom::kernels
