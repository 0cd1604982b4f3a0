#pragma once
// The largest single allocation since this was last set to 0, in test programs that compile an
// allocations_test.cpp. Always 0 under the sanitizers, which bring their own allocator and limits.

#include <atomic>
#include <cstddef>

namespace lissom::testing {

extern std::atomic<size_t> largest_allocation;

}  // namespace lissom::testing
