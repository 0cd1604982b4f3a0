#include "codec/grid.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/half.h"

namespace lissom {

void expand_grid(const GridSpec& spec, const GridParams& params, BlockGrid& grid) {
  std::memcpy(grid.stored.data(), &params, sizeof params);
  const float d = half_to_float(params.d), m = half_to_float(params.m);
  for (size_t j = 0; j < static_cast<size_t>(spec.subs()); ++j) {
    const bool subs = spec.kind == GridKind::sub_scale || spec.kind == GridKind::sub_scale_min;
    grid.scale[j] = subs ? d * static_cast<float>(params.scale[j]) : d;
    grid.offset[j] = 0;
    if (spec.kind == GridKind::scale_offset) grid.offset[j] = m;
    if (spec.kind == GridKind::sub_scale_min) grid.offset[j] = -(m * static_cast<float>(params.min[j]));
  }
}

namespace {

int nearest_level(const int8_t* levels, float t) {
  int code = 0;
  for (int i = 0; i < 15; ++i) code += t > 0.5F * static_cast<float>(levels[i] + levels[i + 1]);
  return code;
}

}  // namespace

void GridCodec::round(const BlockGrid& grid, int first, int count, const float* w, const float*,
                      int8_t* codes) const {
  for (int i = 0; i < count; ++i) {
    const auto j = static_cast<size_t>((first + i) / spec_.sub);
    const float scale = grid.scale[j];
    const float inverse = scale != 0 ? 1.0F / scale : 0.0F;
    const float t = (w[i] - grid.offset[j]) * inverse;
    if (spec_.levels != nullptr) {
      codes[i] = static_cast<int8_t>(nearest_level(spec_.levels, t));
    } else {
      const float clamped = std::clamp(t, static_cast<float>(spec_.low), static_cast<float>(spec_.high));
      codes[i] = static_cast<int8_t>(std::nearbyint(clamped));
    }
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

void GridCodec::choose_blocks(const float* w, const float* importance, int64_t importance_blocks,
                              int64_t n_blocks, BlockGrid* grids) const {
  std::vector<float> one(static_cast<size_t>(spec_.block), 1.0F);
  for (int64_t b = 0; b < n_blocks; ++b) {
    const float* v = importance != nullptr ? importance + b % importance_blocks * spec_.block : one.data();
    choose_simple(w + b * spec_.block, v, grids[b]);
  }
}

namespace {

struct Fit {
  float scale = 0, offset = 0;
  double error = 0;
};

/// Best scale and offset of one sub-block over shrunk ranges.
Fit fit_sub(const GridCodec& codec, const GridSpec& spec, const float* w, const float* v) {
  int8_t codes[256];
  float back[256];
  float low = 0, high = 0, extreme = 0;
  for (int i = 0; i < spec.sub; ++i) {
    low = std::min(low, w[i]);
    high = std::max(high, w[i]);
    if (std::fabs(w[i]) > std::fabs(extreme)) extreme = w[i];
  }
  Fit best;
  best.error = HUGE_VAL;
  for (int k = 0; k < 24; ++k) {
    BlockGrid grid;
    const float shrink = 1.0F - 0.02F * static_cast<float>(k);
    if (spec.has_offset()) {
      grid.scale[0] = (high - low) * shrink / static_cast<float>(spec.high);
      grid.offset[0] = low * shrink;
    } else {
      grid.scale[0] = extreme * shrink / static_cast<float>(spec.levels != nullptr ? -127 : spec.low);
    }
    codec.round(grid, 0, spec.sub, w, v, codes);
    codec.values(grid, 0, spec.sub, codes, back);
    double error = 0;
    for (int i = 0; i < spec.sub; ++i) {
      const double e = static_cast<double>(w[i]) - static_cast<double>(back[i]);
      error += static_cast<double>(v[i]) * e * e;
    }
    if (error < best.error) best = {grid.scale[0], grid.offset[0], error};
  }
  return best;
}

}  // namespace

void GridCodec::choose_simple(const float* w, const float* v, BlockGrid& grid) const {
  Fit fits[BlockGrid::kMaxSub];
  float largest = 0, largest_min = 0;
  for (int j = 0; j < spec_.subs(); ++j) {
    fits[j] = fit_sub(*this, spec_, w + j * spec_.sub, v + j * spec_.sub);
    if (std::fabs(fits[j].scale) > std::fabs(largest)) largest = fits[j].scale;
    largest_min = std::max(largest_min, -fits[j].offset);
  }
  GridParams params;
  if (spec_.kind == GridKind::scale || spec_.kind == GridKind::scale_offset) {
    params.d = float_to_half(fits[0].scale);
    params.m = float_to_half(fits[0].offset);
  } else {
    const bool minima = spec_.kind == GridKind::sub_scale_min;
    params.d = float_to_half(largest / static_cast<float>(minima ? spec_.scale_high : spec_.scale_low));
    params.m = minima ? float_to_half(largest_min / static_cast<float>(spec_.min_high)) : uint16_t{0};
    const float d = half_to_float(params.d), m = half_to_float(params.m);
    for (int j = 0; j < spec_.subs(); ++j) {
      const float s = d != 0 ? std::nearbyint(fits[j].scale / d) : 0;
      const float o = m != 0 ? std::nearbyint(-fits[j].offset / m) : 0;
      params.scale[j] = static_cast<int8_t>(
          std::clamp(s, static_cast<float>(spec_.scale_low), static_cast<float>(spec_.scale_high)));
      params.min[j] = static_cast<int8_t>(std::clamp(o, 0.0F, static_cast<float>(spec_.min_high)));
    }
  }
  expand_grid(spec_, params, grid);
}

}  // namespace lissom
