#include "codec/int4/expand.h"

#include "base/cpu.h"

namespace lissom::int4 {

const Expanders& expanders() {
  const auto target = active_target();
#if defined(__x86_64__)
  if (target && *target == Target::avx512) return avx512_expanders();
  if (target && *target == Target::avx2) return avx2_expanders();
#elif defined(__aarch64__)
  if (target && *target != Target::scalar) return neon_expanders();
#endif
  return portable_expanders();
}

}  // namespace lissom::int4
