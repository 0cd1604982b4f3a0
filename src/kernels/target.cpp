#include <cstdlib>
#include <string>

#include "base/cpu.h"
#include "kernels/table.h"

namespace lissom::kernels {

std::string_view target_name(Target target) {
  return target == Target::avx512 ? "avx512" : target == Target::avx2 ? "avx2" : "scalar";
}

std::vector<Target> supported_targets() {
  __builtin_cpu_init();
  std::vector<Target> list;
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && cpu_has_f16c();
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vnni")) {
    list.push_back(Target::avx512);
  }
  if (avx2) list.push_back(Target::avx2);
  list.push_back(Target::scalar);
  return list;
}

Result<Target> choose_target(const char* forced) {
  const auto supported = supported_targets();
  if (forced == nullptr || *forced == '\0') return supported.front();
  const std::string_view name = forced;
  for (const Target t : supported) {
    if (target_name(t) == name) return t;
  }
  std::string list;
  for (const Target t : supported) list += (list.empty() ? "" : ", ") + std::string(target_name(t));
  return bad_input("LISSOM_FORCE_TARGET: \"" + std::string(name) +
                   "\" is not a target of this machine; it has " + list);
}

Result<Target> active_target() {
  static const Result<Target> target = choose_target(std::getenv("LISSOM_FORCE_TARGET"));
  return target;
}

const KernelTable& kernel_table(Target target) {
  static const KernelTable scalar = [] {
    KernelTable t{};
    scalar_target::fill_int8(t);
    scalar_target::fill_float(t);
    scalar_target::fill_ops(t);
    return t;
  }();
  static const KernelTable avx2 = [] {
    KernelTable t{};
    avx2_target::fill_int8(t);
    avx2_target::fill_float(t);
    avx2_target::fill_ops(t);
    return t;
  }();
  static const KernelTable avx512 = [] {
    KernelTable t{};
    avx512_target::fill_int8(t);
    avx512_target::fill_bf16(t);
    avx512_target::fill_float(t);
    avx512_target::fill_ops(t);
    return t;
  }();
  return target == Target::avx512 ? avx512 : target == Target::avx2 ? avx2 : scalar;
}

}  // namespace lissom::kernels
