#pragma once
// What this machine does at most, measured: the yardstick for how well the kernels use it.

#include "kernels/kernels.h"

namespace lissom::kernels {

/// All threads of a pool together. Operations: two for each multiply-accumulate.
struct MachineLimits {
  double read_bytes_per_second = 0;  ///< from memory, over a buffer far larger than the last cache
  double int8_ops_per_second = 0;    ///< dot products of bytes with the target's instructions, in registers
  double f32_ops_per_second = 0;
  double bf16_ops_per_second = 0;  ///< 0 where the target or the CPU has no BF16 dot products
};

struct ProbeOptions {
  double seconds = 2.0;
  int64_t buffer_bytes = 0;  ///< 0: eight times the last cache, 256 MiB to 1 GiB
};
/// The best of many short passes of each. Fails where there is no room for the buffer.
[[nodiscard]] Result<MachineLimits> probe_machine(Target target, ThreadPool& pool,
                                                  const ProbeOptions& options = {});

}  // namespace lissom::kernels
