#include "codec/simd/lanes_portable.h"

#include "codec/search/search_impl.h"

namespace lissom {

SearchTarget portable_search_target() {
  return {Target::scalar, LANES::search, LANES::round_blocks, LANES::round_codes};
}

}  // namespace lissom
