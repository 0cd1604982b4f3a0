#include "codec/search/search.h"

#include <algorithm>
#include <cstdlib>

#include "base/cpu.h"

namespace lissom {
namespace {

std::vector<SearchTarget> find_targets() {
  std::vector<SearchTarget> list;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && cpu_has_f16c();
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (avx512) list.push_back(avx512_search_target());
  if (avx2) list.push_back(avx2_search_target());
#endif
  list.push_back(portable_search_target());
  return list;
}

}  // namespace

std::span<const SearchTarget> search_targets() {
  static const std::vector<SearchTarget> targets = find_targets();
  return targets;
}

const SearchTarget& active_search_target() {
  static const SearchTarget& active = []() -> const SearchTarget& {
    const char* forced = std::getenv("LISSOM_FORCE_TARGET");
    for (const SearchTarget& target : search_targets())
      if (forced != nullptr && target.name == forced) return target;
    return search_targets().front();
  }();
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
