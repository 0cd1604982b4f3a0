#include "codec/search/search.h"

#include <algorithm>

namespace lissom {
namespace {

SearchTarget search_target([[maybe_unused]] Target target) {
#if defined(__x86_64__)
  if (target == Target::avx512) return avx512_search_target();
  if (target == Target::avx2) return avx2_search_target();
#elif defined(__aarch64__)
  if (target != Target::scalar) {
    SearchTarget neon = neon_search_target();
    neon.target = target;  // integer dot products are of no use here
    return neon;
  }
#endif
  return portable_search_target();
}

}  // namespace

std::span<const SearchTarget> search_targets() {
  static const std::vector<SearchTarget> targets = [] {
    std::vector<SearchTarget> list;
    for (const Target target : supported_targets()) list.push_back(search_target(target));
    return list;
  }();
  return targets;
}

const SearchTarget& active_search_target() {
  static const SearchTarget active = search_target(active_target().value_or(supported_targets().front()));
  return active;
}

void normalise_importance(const GridSpec& spec, const float* importance, int64_t blocks, float* out) {
  for (int64_t b = 0; b < blocks; ++b) {
    const float* v = importance + b * spec.block;
    float* to = out + b * spec.block;
    const float most = *std::max_element(v, v + spec.block);
    for (int i = 0; i < spec.block; ++i) to[i] = most > 0 ? v[i] / most : 1.0F;
    for (int j = 0; j < spec.block; j += spec.sub)
      if (*std::max_element(to + j, to + j + spec.sub) < 1e-12F) std::fill_n(to + j, spec.sub, 1e-12F);
  }
}

}  // namespace lissom
