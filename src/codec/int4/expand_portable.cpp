#include "codec/simd/lanes_portable.h"

#include "codec/int4/expand_plain.h"

#include "codec/int4/expand_impl.h"

namespace lissom::int4 {

const Expanders& portable_expanders() {
  return LANES::kExpanders;
}

}  // namespace lissom::int4
