#if defined(__x86_64__)

#include "codec/simd/lanes_avx2.h"

#include "codec/search/search_impl.h"

namespace lissom {

SearchTarget avx2_search_target() {
  return {Target::avx2, LANES::search, LANES::round_blocks, LANES::round_codes};
}

}  // namespace lissom

#endif
