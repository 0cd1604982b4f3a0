#pragma once
// What __builtin_cpu_supports of every compiler in use does not say.

#if defined(__x86_64__)
#include <cpuid.h>

namespace lissom {

/// clang 14 knows no "f16c". Ask together with "avx2": then the system saves the registers.
[[nodiscard]] inline bool cpu_has_f16c() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}

/// The SHA extensions: leaf 7, bit 29 of EBX.
[[nodiscard]] inline bool cpu_has_sha() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (ebx & (1U << 29)) != 0;
}

}  // namespace lissom
#endif
