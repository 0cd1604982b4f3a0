#include "base/cpu.h"

#include <cstdlib>
#include <string>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace lissom {
namespace {

#if defined(__x86_64__)
/// clang 14 knows no __builtin_cpu_supports("f16c"). Asked together with "avx2": then the system saves the
/// registers.
bool cpu_has_f16c() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}
#endif

}  // namespace

bool cpu_has_sha() {
#if defined(__x86_64__)
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 &&
         (ebx & (1U << 29)) != 0;  // leaf 7, bit 29 of EBX
#else
  return false;
#endif
}

std::string_view target_name(Target target) {
  constexpr std::string_view kNames[] = {"scalar", "avx2", "avx512", "neon", "neon_dotprod", "neon_i8mm"};
  return kNames[static_cast<size_t>(target)];
}

std::vector<Target> supported_targets() {
  std::vector<Target> list;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && cpu_has_f16c();
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vnni")) {
    list.push_back(Target::avx512);
  }
  if (avx2) list.push_back(Target::avx2);
#elif defined(__aarch64__)
  const bool dotprod = (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
  if (dotprod && (getauxval(AT_HWCAP2) & HWCAP2_I8MM) != 0) list.push_back(Target::neon_i8mm);
  if (dotprod) list.push_back(Target::neon_dotprod);
  list.push_back(Target::neon);
#endif
  list.push_back(Target::scalar);
  return list;
}

Result<Target> choose_target(const char* forced) {
  const auto supported = supported_targets();
  if (forced == nullptr || *forced == '\0') return supported.front();
  const std::string_view name = forced;
  std::string list;
  for (const Target t : supported) {
    if (target_name(t) == name) return t;
    list += (list.empty() ? "" : ", ") + std::string(target_name(t));
  }
  return bad_input("LISSOM_FORCE_TARGET: \"" + std::string(name) +
                   "\" is not a target of this machine; it has " + list);
}

Result<Target> active_target() {
  static const Result<Target> target = choose_target(std::getenv("LISSOM_FORCE_TARGET"));
  return target;
}

}  // namespace lissom
