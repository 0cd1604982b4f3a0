#if defined(__x86_64__)

#include "codec/simd/lanes_avx512.h"

#include "codec/search/search_impl.h"

namespace lissom {

SearchTarget avx512_search_target() {
  return {Target::avx512, LANES::search, LANES::round_blocks, LANES::round_codes};
}

}  // namespace lissom

#endif
