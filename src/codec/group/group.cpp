#include "codec/group/group.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/half.h"
#include "codec/builtin.h"
#include "codec/float/float.h"
#include "codec/mxfp4/mxfp4.h"
#include "lissom/codec.h"

namespace lissom {
namespace {

constexpr int64_t kLanes = 16;
constexpr float kLargestE4M3 = 448.0F, kLargestE2M1 = 6.0F;
constexpr int kRefits = 3;

/// One group: weights and importances, with zeros behind them up to whole lanes.
struct Group {
  std::vector<float> w, v;
  float low = 0, high = 0;  ///< of the weights, and 0

  void load(const float* weights, const float* importance, int64_t n) {
    const auto padded = static_cast<size_t>((n + kLanes - 1) / kLanes * kLanes);
    w.assign(padded, 0.0F);
    v.assign(padded, 0.0F);
    std::copy_n(weights, n, w.begin());
    const float most = importance == nullptr ? 0.0F : *std::max_element(importance, importance + n);
    for (int64_t i = 0; i < n; ++i) v[static_cast<size_t>(i)] = most > 0 ? importance[i] / most : 1.0F;
    const auto [least, largest] = std::minmax_element(w.begin(), w.end());
    low = std::min(0.0F, *least);
    high = std::max(0.0F, *largest);
  }
  /// The weight of largest magnitude.
  [[nodiscard]] float extreme() const { return -low > high ? low : high; }
};

/// Levels of whole numbers about a zero point. Adding and taking away 1.5·2^23 rounds to the nearest even.
struct WholeLevels {
  float low, high;
  [[nodiscard]] float operator()(float t) const {
    return (std::min(std::max(t, low), high) + 0x1.8p23F) - 0x1.8p23F;
  }
};

/// Values of E4M3, saturating.
struct E4M3Levels {
  [[nodiscard]] float operator()(float t) const {
    const float clamped = std::min(std::max(t, -kLargestE4M3), kLargestE4M3);
    const auto bits = std::bit_cast<uint32_t>(clamped);
    const float small = (clamped + 0x1.8p14F) - 0x1.8p14F;  // multiples of 2^-9
    const uint32_t rounded = (bits + 0x7ffffU + ((bits >> 20) & 1U)) & 0xfff00000U;
    return std::fabs(clamped) < 0x1p-6F ? small : std::bit_cast<float>(rounded);
  }
};

float total(const float* lane) {
  float sum = 0;
  for (int64_t l = 0; l < kLanes; ++l) sum += lane[l];
  return sum;
}

/// Σ v·w·level and Σ v·level²: of the scales for these levels wL / LL is the best, and takes wL² / LL off the
/// error.
struct Fit {
  float wL = 0, LL = 0;
  [[nodiscard]] float gain() const { return LL > 0 ? wL * wL / LL : 0; }
};

template <class Levels>
Fit fit(const Group& group, float inverse, const Levels& levels) {
  float wL[kLanes] = {}, LL[kLanes] = {};
  for (size_t i = 0; i < group.w.size(); i += kLanes)
    for (size_t l = 0; l < kLanes; ++l) {
      const float level = levels(group.w[i + l] * inverse), vL = group.v[i + l] * level;
      wL[l] += vL * group.w[i + l];
      LL[l] += vL * level;
    }
  return {total(wL), total(LL)};
}

template <class Levels>
float error_of(const Group& group, float scale, const Levels& levels) {
  const float inverse = scale != 0 ? 1 / scale : 0;
  float sum[kLanes] = {};
  for (size_t i = 0; i < group.w.size(); i += kLanes)
    for (size_t l = 0; l < kLanes; ++l) {
      const float d = group.w[i + l] - scale * levels(group.w[i + l] * inverse);
      sum[l] += group.v[i + l] * d * d;
    }
  return total(sum);
}

struct Choice {
  float scale = 0;
  int zero = 0;
};
/// The best so far: judged by gain while scales are free, then by the error of the scale as stored.
struct Best {
  Choice choice;
  float gain = -1;
};

template <class Levels>
void try_scale(const Group& group, float scale, int zero, const Levels& levels, Best& best) {
  const float inverse = 1 / scale;
  if (scale == 0 || !std::isfinite(inverse)) return;
  const Fit f = fit(group, inverse, levels);
  if (f.gain() > best.gain) best = {{f.wL / f.LL, zero}, f.gain()};
}

/// Rounds the scale to what can be stored and refits it to its codes by turns; `plain` is what to beat.
template <class Levels>
float settle(const Group& group, GroupScale stored, float scale, float plain, const Levels& levels) {
  float best = stored_scale(stored, plain), best_error = error_of(group, best, levels);
  for (int k = 0; k <= kRefits; ++k) {
    const float now = stored_scale(stored, scale);
    if (const float error = error_of(group, now, levels); error < best_error) {
      best = now;
      best_error = error;
    }
    if (now == 0) break;
    const Fit f = fit(group, 1 / now, levels);
    if (f.LL <= 0) break;
    scale = f.wL / f.LL;
  }
  return best;
}

WholeLevels levels_about(const GroupSpec& spec, int zero) {
  return {static_cast<float>(-zero), static_cast<float>((1 << spec.bits) - 1 - zero)};
}

Choice choose_symmetric(const GroupSpec& spec, const Group& group) {
  const int zero = 1 << (spec.bits - 1);
  const WholeLevels levels = levels_about(spec, zero);
  const float extreme = group.extreme(), reach = 1.0F / std::sqrt(static_cast<float>(2 * zero));
  Best best;
  // The largest weight about the lowest level, then about the highest.
  for (const float end : {levels.low, levels.high})
    for (int i = 0; i < 8; ++i) {
      const float scale = extreme / (end * (1 + reach * (static_cast<float>(i) / 3.5F - 1)));
      try_scale(group, spec.signed_scale ? scale : std::fabs(scale), zero, levels, best);
    }
  for (const float side : {-2.0F, -1.0F, 1.0F, 2.0F})
    try_scale(group, best.choice.scale * (1 + side * reach / 16), zero, levels, best);
  const float plain = extreme / levels.low;
  return {settle(group, spec.scale, best.choice.scale, spec.signed_scale ? plain : std::fabs(plain), levels),
          zero};
}

Choice choose_asymmetric(const GroupSpec& spec, const Group& group) {
  const auto steps = static_cast<float>((1 << spec.bits) - 1), shrink = 0.2F / std::sqrt(steps + 1);
  const auto zero_of = [&](float scale, float low) {
    return std::clamp(static_cast<int>(std::lround(-low / scale)), spec.lowest_zero, (1 << spec.bits) - 1);
  };
  const float width = group.high - group.low, plain = stored_scale(spec.scale, width / steps);
  Best best;
  for (int i = 0; i < 5; ++i)
    for (int j = 0; j < 5; ++j) {
      const float left = 1 - shrink * static_cast<float>(i + j), scale = width * left / steps;
      const int zero = zero_of(scale, group.low + width * shrink * static_cast<float>(i));
      try_scale(group, scale, zero, levels_about(spec, zero), best);
    }
  for (const int by : {-1, 1}) {
    const int zero = std::clamp(best.choice.zero + by, spec.lowest_zero, (1 << spec.bits) - 1);
    try_scale(group, best.choice.scale, zero, levels_about(spec, zero), best);
  }
  for (const float by : {0.96F, 0.98F, 1.02F, 1.04F})
    try_scale(group, best.choice.scale * by, best.choice.zero, levels_about(spec, best.choice.zero), best);
  const WholeLevels levels = levels_about(spec, best.choice.zero);
  const float scale = settle(group, spec.scale, best.choice.scale, best.choice.scale, levels);
  // The plain range is one of the candidates, but its scale as stored may suit its own zero point better.
  const int plain_zero = plain > 0 ? zero_of(plain, group.low) : best.choice.zero;
  const bool plain_wins =
      plain > 0 && error_of(group, plain, levels_about(spec, plain_zero)) < error_of(group, scale, levels);
  return plain_wins ? Choice{plain, plain_zero} : Choice{scale, best.choice.zero};
}

/// Where in a power of two the scale lies decides which weights fall between the levels: half of one is tried.
Choice choose_e4m3(const GroupSpec& spec, const Group& group) {
  const float largest = std::fabs(group.extreme()), plain = largest / kLargestE4M3;
  const E4M3Levels levels;
  Best best;
  for (int i = -1; i < 8; ++i) try_scale(group, plain * (1 + 0.125F * static_cast<float>(i)), 0, levels, best);
  return {settle(group, spec.scale, best.choice.scale, plain, levels), 0};
}

Choice choose(const GroupSpec& spec, const Group& group) {
  // A group of zeros; or of weights so small that no scale that can be stored is as small.
  const float largest = std::fabs(group.extreme());
  if (largest == 0 || stored_scale(spec.scale, largest) == 0) return {1.0F, 1 << (spec.bits - 1)};
  if (spec.element == GroupElement::e4m3) return choose_e4m3(spec, group);
  return spec.symmetric ? choose_symmetric(spec, group) : choose_asymmetric(spec, group);
}

void write_codes(const GroupSpec& spec, const Choice& choice, const float* w, int64_t n, uint8_t* codes) {
  const float inverse = choice.scale != 0 ? 1 / choice.scale : 0;
  if (spec.element == GroupElement::e4m3) {
    for (int64_t i = 0; i < n; ++i) codes[i] = float_to_e4m3(E4M3Levels()(w[i] * inverse));
    return;
  }
  const WholeLevels levels = levels_about(spec, choice.zero);
  for (int64_t i = 0; i < n; ++i)
    codes[i] = static_cast<uint8_t>(static_cast<int>(levels(w[i] * inverse)) + choice.zero);
}

/// Through the block codec with the same levels, whose search and kernels are there: MXFP4 or NVFP4.
void encode_e2m1_row(const BlockCodec& codec, const float* w, std::span<const float> importance, int64_t row,
                     GroupMatrix& to) {
  const int block = codec.block_weights();
  const auto sub = static_cast<int>(to.spec.group);
  const int64_t blocks = (to.cols + block - 1) / block, groups = to.groups();
  const auto padded = static_cast<size_t>(blocks * block);
  std::vector<float> weights(padded), weigh(importance.empty() ? 0 : padded);
  for (int64_t c = 0; c < to.cols; ++c) weights[static_cast<size_t>(c)] = w[c] * to.global_scale;
  std::ranges::copy(importance, weigh.begin());
  std::vector<std::byte> bytes(static_cast<size_t>(blocks * codec.block_bytes()));
  codec.encode_blocks(weights.data(), weigh.empty() ? nullptr : weigh.data(), blocks, blocks, bytes.data());
  std::vector<int8_t> codes(static_cast<size_t>(block));
  for (int64_t b = 0; b < blocks; ++b) {
    BlockGrid grid;
    codec.unpack(bytes.data() + b * codec.block_bytes(), grid, codes.data());
    for (int i = 0; i < block && b * block + i < to.cols; ++i)
      to.codes[static_cast<size_t>(row * to.cols + b * block + i)] =
          static_cast<uint8_t>(codes[static_cast<size_t>(i)]);
    // The codec's levels are twice the values of E2M1.
    for (int j = 0; j < block / sub && b * (block / sub) + j < groups; ++j)
      to.scales[static_cast<size_t>(row * groups + b * (block / sub) + j)] =
          2 * grid.scale[static_cast<size_t>(j)];
  }
}

}  // namespace

std::string group_spec_name(const GroupSpec& spec) {
  std::string name = spec.element == GroupElement::integer ? "INT" + std::to_string(spec.bits)
                     : spec.element == GroupElement::e4m3  ? "E4M3"
                                                           : "E2M1";
  if (spec.group > 0) name += " g" + std::to_string(spec.group);
  return spec.symmetric ? name : name + " zero";
}

int group_scale_bits(GroupScale scale) {
  return scale == GroupScale::f32 ? 32 : scale == GroupScale::f16 || scale == GroupScale::bf16 ? 16 : 8;
}

float stored_scale(GroupScale scale, float value) {
  switch (scale) {
    case GroupScale::f16: {
      // Weights of a few millionths still have a scale.
      const float rounded = half_to_float(float_to_half(value));
      return rounded == 0 && value != 0 ? std::copysign(0x1p-24F, value) : rounded;
    }
    case GroupScale::bf16:
      return bf16_to_float(float_to_bf16(value));
    case GroupScale::e4m3:
      return e4m3_to_float(float_to_e4m3(value));
    case GroupScale::e8m0:
      return value > 0
                 ? std::ldexp(1.0F, std::clamp(static_cast<int>(std::lround(std::log2(value))), -127, 127))
                 : 0;
    case GroupScale::f32:
      break;
  }
  return value;
}

void GroupMatrix::decode_row(int64_t row, float* out) const {
  const int64_t n_groups = groups(), of_group = spec.columns_of_group(cols);
  const uint8_t* code = codes.data() + row * cols;
  const float* scale = scales.data() + row * n_groups;
  const uint8_t* zero = zeros.empty() ? nullptr : zeros.data() + row * n_groups;
  std::array<float, 256> values;
  if (spec.element == GroupElement::e4m3)
    for (size_t i = 0; i < 256; ++i) values[i] = e4m3_to_float(static_cast<uint8_t>(i));
  if (spec.element == GroupElement::e2m1)
    for (size_t i = 0; i < 256; ++i) values[i] = 0.5F * static_cast<float>(kE2M1Levels[i & 15]);
  for (int64_t c = 0; c < cols; ++c) {
    const int64_t g = group_of.empty() ? c / of_group : group_of[static_cast<size_t>(c)];
    if (zero != nullptr)
      out[c] = static_cast<float>(code[c] - zero[g]) * scale[g];
    else if (spec.scale == GroupScale::e4m3)
      out[c] = values[code[c]] * (scale[g] / global_scale);
    else
      out[c] = values[code[c]] * scale[g];
  }
}

GroupMatrix make_group_matrix(const GroupSpec& spec, int64_t rows, int64_t cols) {
  GroupMatrix m{spec, rows, cols, {}, {}, {}, 1, {}};
  m.codes.resize(static_cast<size_t>(rows * cols));
  m.scales.resize(static_cast<size_t>(rows * m.groups()));
  if (spec.element == GroupElement::integer)
    m.zeros.assign(m.scales.size(), static_cast<uint8_t>(1 << (spec.bits - 1)));
  return m;
}

float e4m3_global_scale(float largest) {
  return largest > 0 ? kLargestE4M3 * kLargestE2M1 / largest : 1;
}

void encode_group_rows(const float* w, std::span<const float> importance, int64_t first, int64_t count,
                       GroupMatrix& to) {
  const GroupSpec& spec = to.spec;
  const int64_t of_group = spec.columns_of_group(to.cols), groups = to.groups();
  Group group;
  for (int64_t r = 0; r < count; ++r) {
    const float* row = w + r * to.cols;
    if (spec.element == GroupElement::e2m1) {
      encode_e2m1_row(spec.scale == GroupScale::e8m0 ? mxfp4_codec() : nvfp4_codec(), row, importance,
                      first + r, to);
      continue;
    }
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t begin = g * of_group, n = std::min(of_group, to.cols - begin);
      group.load(row + begin, importance.empty() ? nullptr : importance.data() + begin, n);
      const Choice choice = choose(spec, group);
      const auto at = static_cast<size_t>((first + r) * groups + g);
      to.scales[at] = choice.scale;
      if (!to.zeros.empty()) to.zeros[at] = static_cast<uint8_t>(choice.zero);
      write_codes(spec, choice, row + begin, n, to.codes.data() + (first + r) * to.cols + begin);
    }
  }
}

}  // namespace lissom
