#pragma once
// The two entries of a SearchTarget. Included after a lanes header, by one .cpp for each instruction set.

#include <algorithm>

#include "codec/search/scale_search.h"
#include "codec/search/super_affine_search.h"
#include "codec/search/super_scale_search.h"

namespace lissom::LANES {
namespace {

template <int N, bool Weighted, class Grid>
LANES_FN void search_blocks(const GridSpec& spec, const SearchPlan& plan, const float* w, const float* v,
                            int64_t v_blocks, int64_t n_blocks, GridParams* params) {
  const Grid grid(spec);
  const int64_t together = 16 / spec.subs();
  Tile<N> tile;
  for (int64_t first = 0; first < n_blocks; first += together) {
    const auto blocks = static_cast<int>(std::min(together, n_blocks - first));
    load_tile<N, Weighted>(spec, w, v, v_blocks, first, n_blocks, tile);
    if (spec.kind == GridKind::listed_scale) {
      uint8_t codes[16];
      search_listed_scale<N, Weighted>(spec, tile, grid, plan, codes);
      for (int i = 0; i < blocks * spec.subs(); ++i)
        params[first + i / spec.subs()].scale[i % spec.subs()] = static_cast<int8_t>(codes[i]);
      continue;
    }
    if constexpr (N >= 32) {
      if (N == 256 || spec.kind == GridKind::scale || spec.kind == GridKind::scale_offset) {
        uint16_t d[16], m[16] = {};
        if (N == 256 || spec.kind == GridKind::scale) {
          search_scale<N, Weighted>(tile, grid, plan, d);
        } else {
          const AffineHalves best =
              search_affine<N, Weighted>(tile, grid, plan, static_cast<float>(spec.high - spec.low));
          store_half(d, best.d);
          store_half(m, best.m);
        }
        for (int b = 0; b < blocks; ++b) {
          params[first + b].d = d[b];
          params[first + b].m = m[b];
        }
        continue;
      }
    }
    if constexpr (N < 256) {
      if (spec.kind == GridKind::sub_scale)
        search_super_scales<N, Weighted>(spec, tile, grid, plan, blocks, params + first);
      else
        search_super_affine<N, Weighted>(spec, tile, grid, plan, blocks, params + first);
    }
  }
}

template <int N, class Grid>
LANES_FN void search_grid(const GridSpec& spec, const SearchPlan& plan, const float* w, const float* v,
                          int64_t v_blocks, int64_t n_blocks, GridParams* params) {
  if (v != nullptr)
    search_blocks<N, true, Grid>(spec, plan, w, v, v_blocks, n_blocks, params);
  else
    search_blocks<N, false, Grid>(spec, plan, w, v, v_blocks, n_blocks, params);
}

LANES_FN void search(const GridSpec& spec, const SearchPlan& plan, const float* w, const float* v,
                     int64_t v_blocks, int64_t n_blocks, GridParams* params) {
  if (spec.e2m1 && spec.sub == 32)
    search_grid<32, FourBitFloat>(spec, plan, w, v, v_blocks, n_blocks, params);
  else if (spec.e2m1)
    search_grid<16, FourBitFloat>(spec, plan, w, v, v_blocks, n_blocks, params);
  else if (spec.sub == 256)
    search_grid<256, Linear>(spec, plan, w, v, v_blocks, n_blocks, params);
  else if (spec.levels != nullptr)
    search_grid<32, Uneven>(spec, plan, w, v, v_blocks, n_blocks, params);
  else if (spec.sub == 32)
    search_grid<32, Linear>(spec, plan, w, v, v_blocks, n_blocks, params);
  else
    search_grid<16, Linear>(spec, plan, w, v, v_blocks, n_blocks, params);
}

template <class Grid>
LANES_INLINE void round_with(const Grid& grid, float scale, float offset, int count, const float* w,
                             int8_t* codes) {
  const F inv = inverse(set(scale)), shift = set(offset);
  int i = 0;
  for (; i + 16 <= count; i += 16) store_int8(codes + i, grid.code((load(w + i) - shift) * inv));
  if (i == count) return;
  float rest[16] = {};
  int8_t rest_codes[16];
  std::copy(w + i, w + count, rest);
  store_int8(rest_codes, grid.code((load(rest) - shift) * inv));
  std::copy_n(rest_codes, count - i, codes + i);
}

template <class Grid>
LANES_FN void round_all(const GridSpec& spec, const GridParams* params, int64_t n_blocks, const float* w,
                        int8_t* codes) {
  const Grid with(spec);
  float scale[BlockGrid::kMaxSub], offset[BlockGrid::kMaxSub];
  for (int64_t b = 0; b < n_blocks; ++b) {
    expand_scales(spec, params[b], scale, offset);
    for (int j = 0; j < spec.subs(); ++j, w += spec.sub, codes += spec.sub)
      round_with(with, scale[j], offset[j], spec.sub, w, codes);
  }
}

LANES_FN void round_blocks(const GridSpec& spec, const GridParams* params, int64_t n_blocks, const float* w,
                           int8_t* codes) {
  if (spec.e2m1)
    round_all<FourBitFloat>(spec, params, n_blocks, w, codes);
  else if (spec.levels != nullptr)
    round_all<Uneven>(spec, params, n_blocks, w, codes);
  else
    round_all<Linear>(spec, params, n_blocks, w, codes);
}

LANES_FN void round_codes(const GridSpec& spec, float scale, float offset, int count, const float* w,
                          int8_t* codes) {
  if (spec.e2m1)
    round_with(FourBitFloat(spec), scale, offset, count, w, codes);
  else if (spec.levels != nullptr)
    round_with(Uneven(spec), scale, offset, count, w, codes);
  else
    round_with(Linear(spec), scale, offset, count, w, codes);
}

}  // namespace
}  // namespace lissom::LANES
