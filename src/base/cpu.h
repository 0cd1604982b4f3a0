#pragma once
// The instruction sets that kernels, searches and statistics are compiled for, and which of them runs: one rule
// for every room.

#include <string_view>
#include <vector>

#include "lissom/result.h"

namespace lissom {

/// avx2: with FMA and F16C. avx512: F, BW, VL, DQ and VNNI; BF16 dot products where the CPU has them.
/// neon: what every AArch64 CPU has. neon_dotprod: with sdot. neon_i8mm: with sdot, usdot and usmmla.
enum class Target { scalar, avx2, avx512, neon, neon_dotprod, neon_i8mm };
[[nodiscard]] std::string_view target_name(Target target);
/// Those that this machine runs, best first; scalar is always last.
[[nodiscard]] std::vector<Target> supported_targets();
/// The first of them, unless the environment variable LISSOM_FORCE_TARGET names another; an error that names
/// the variable when it names none that this machine has. Read once. The program asks before any verb runs;
/// Model::load, evaluate and encode_checked ask for those who use the library.
[[nodiscard]] Result<Target> active_target();
/// The rule of active_target() for a given value of the variable; null or empty: not set.
[[nodiscard]] Result<Target> choose_target(const char* forced);

/// The SHA extensions, which __builtin_cpu_supports of the compilers in use does not know.
[[nodiscard]] bool cpu_has_sha();

}  // namespace lissom
