#include "codec/grid.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "codec/search/search.h"

namespace lissom {

void expand_grid(const GridSpec& spec, const GridParams& params, BlockGrid& grid) {
  std::memcpy(grid.stored.data(), &params, sizeof params);
  expand_scales(spec, params, grid.scale.data(), grid.offset.data());
}

void GridCodec::round(const BlockGrid& grid, int first, int count, const float* w, const float*,
                      int8_t* codes) const {
  const SearchTarget& target = active_search_target();
  for (int done = 0; done < count;) {
    const int at = first + done, sub = at / spec_.sub;
    const int run = std::min(count - done, (sub + 1) * spec_.sub - at);
    const auto j = static_cast<size_t>(sub);
    target.round(spec_, grid.scale[j], grid.offset[j], run, w + done, codes + done);
    done += run;
  }
}

void GridCodec::values(const BlockGrid& grid, int first, int count, const int8_t* codes, float* w) const {
  for (int i = 0; i < count; ++i) {
    const auto j = static_cast<size_t>((first + i) / spec_.sub);
    const auto level = static_cast<float>(spec_.levels != nullptr ? spec_.levels[codes[i]] : codes[i]);
    w[i] = grid.scale[j] * level;
    if (spec_.has_offset()) w[i] += grid.offset[j];
  }
}

void GridCodec::choose(const float* w, const float* importance, BlockGrid& grid) const {
  choose_blocks(w, importance, 1, 1, &grid);
}

void GridCodec::search_params(const float* w, const float* importance, int64_t importance_blocks,
                              int64_t n_blocks, GridParams* params) const {
  std::vector<float> normal;
  if (importance != nullptr) {
    normal.resize(static_cast<size_t>(importance_blocks * spec_.block));
    normalise_importance(spec_, importance, importance_blocks, normal.data());
  }
  active_search_target().search(spec_, plan(importance != nullptr), w,
                                importance != nullptr ? normal.data() : nullptr, importance_blocks, n_blocks,
                                params);
}

void GridCodec::round_params(const GridParams* params, int64_t n_blocks, const float* w, int8_t* codes) const {
  active_search_target().round_blocks(spec_, params, n_blocks, w, codes);
}

void GridCodec::choose_blocks(const float* w, const float* importance, int64_t importance_blocks,
                              int64_t n_blocks, BlockGrid* grids) const {
  std::vector<GridParams> params(static_cast<size_t>(n_blocks));
  search_params(w, importance, importance_blocks, n_blocks, params.data());
  for (int64_t b = 0; b < n_blocks; ++b) expand_grid(spec_, params[static_cast<size_t>(b)], grids[b]);
}

}  // namespace lissom
