// Replaces the allocator of this test program, in a unit of its own so that no call is inlined.
#include "support/allocations.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <new>
#include <string>

namespace lissom::testing {
std::atomic<size_t> largest_allocation{0};
}

#ifndef LISSOM_SANITIZED
// Not inlined: GCC would take malloc and operator delete for a pair that does not match.
[[gnu::noinline]] void* operator new(size_t size) {
  auto& largest = lissom::testing::largest_allocation;
  if (size > largest) largest = size;
  if (void* p = std::malloc(size)) return p;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* p) noexcept {
  std::free(p);
}
[[gnu::noinline]] void operator delete(void* p, size_t /*size*/) noexcept {
  std::free(p);
}

TEST(Allocations, AreSeen) {
  lissom::testing::largest_allocation = 0;
  const std::string s(12345, 'x');
  EXPECT_GE(lissom::testing::largest_allocation, s.size());
}
#endif
