#if defined(__aarch64__)

#include "codec/simd/lanes_neon.h"

#include "codec/codebook/search_impl.h"

namespace lissom {

CodebookTarget neon_codebook_target() {
  return {Target::neon, LANES::search_codebook, LANES::round_codebook};
}

}  // namespace lissom

#endif
