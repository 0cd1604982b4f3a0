#if defined(__aarch64__)

#include "codec/simd/lanes_neon.h"

#include "codec/int4/expand_plain.h"

#include "codec/int4/expand_impl.h"

namespace lissom::int4 {

const Expanders& neon_expanders() {
  return LANES::kExpanders;
}

}  // namespace lissom::int4

#endif
