#if defined(__x86_64__)

#include "codec/simd/lanes_avx2.h"

#include "codec/codebook/search_impl.h"

namespace lissom {

CodebookTarget avx2_codebook_target() {
  return {Target::avx2, LANES::search_codebook, LANES::round_codebook};
}

}  // namespace lissom

#endif
