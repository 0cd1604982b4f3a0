#include "codec/simd/lanes_portable.h"

#include "codec/codebook/search_impl.h"

namespace lissom {

CodebookTarget portable_codebook_target() {
  return {Target::scalar, LANES::search_codebook, LANES::round_codebook};
}

}  // namespace lissom
