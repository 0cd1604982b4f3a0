#pragma once

#include <cstdint>

namespace lissom {

/// The largest resident set of this process so far, bytes; 0 where the system does not tell. From VmHWM:
/// getrusage's ru_maxrss survives exec, so that a small program started by a large one reports the large one.
[[nodiscard]] uint64_t peak_memory();
/// The largest from now on, where the kernel lets a process say so (/proc/self/clear_refs); else nothing
/// changes.
void forget_peak_memory();

}  // namespace lissom
