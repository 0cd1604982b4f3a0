#if defined(__aarch64__)

#include "codec/simd/lanes_neon.h"

#include "codec/search/search_impl.h"

namespace lissom {

SearchTarget neon_search_target() {
  return {Target::neon, LANES::search, LANES::round_blocks, LANES::round_codes};
}

}  // namespace lissom

#endif
