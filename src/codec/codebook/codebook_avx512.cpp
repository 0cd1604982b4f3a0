#if defined(__x86_64__)

#include "codec/simd/lanes_avx512.h"

#include "codec/codebook/search_impl.h"

namespace lissom {

CodebookTarget avx512_codebook_target() {
  return {Target::avx512, LANES::search_codebook, LANES::round_codebook};
}

}  // namespace lissom

#endif
