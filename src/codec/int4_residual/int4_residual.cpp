// int4_residual_v1: INT4 in groups of 16 with a signed F16 scale, and what that leaves in INT2 in groups of 64
// with another. The two are fitted in turns. Made from the weights alone: importance is not looked at.
//
//   codes            U8  [rows, cols/2]   two codes a byte, the first in the low half
//   scales           F16 [rows, cols/16]
//   residual         U8  [rows, cols/4]   four codes a byte, the first lowest
//   residual_scales  F16 [rows, cols/64 rounded up]
// ŵ = scale · (code - 8) + residual scale · (residual code - 1.5)

#include <algorithm>
#include <cmath>

#include "base/threads.h"
#include "codec/builtin.h"
#include "codec/int4/expand.h"
#include "codec/int4/int4.h"

namespace lissom {

namespace {

using namespace int4;

constexpr size_t kGroup = 16, kResidualGroup = 64;
enum Part { kCodes, kScales, kResidual, kResidualScales };

/// Four levels around zero: the scale by rounding and least squares in turns.
uint16_t fit_residual(const float* r, size_t n, uint8_t* codes) {
  double square = 0;
  for (size_t i = 0; i < n; ++i) square += static_cast<double>(r[i]) * static_cast<double>(r[i]);
  double scale = std::sqrt(square / static_cast<double>(n));  // that of a Gaussian's best four levels, nearly
  uint16_t half = 0;
  for (int round = 0; round < 6; ++round) {
    half = float_to_half(static_cast<float>(std::min(scale, 65504.0)));
    const float s = half_to_float(half);
    double xx = 0, xy = 0, error = 0;
    for (size_t i = 0; i < n; ++i) {
      const float q = s > 0 ? std::clamp(std::floor(r[i] / s) + 2, 0.0F, 3.0F) : 0;
      codes[i] = static_cast<uint8_t>(q);
      const double level = static_cast<double>(q) - 1.5, x = static_cast<double>(r[i]);
      xx += level * level;
      xy += level * x;
      error += (x - level * static_cast<double>(s)) * (x - level * static_cast<double>(s));
    }
    if (error > square) return 0;
    scale = xx > 0 ? std::max(xy / xx, 0.0) : 0;
  }
  return half;
}

class ResidualCodec final : public Codec {
 public:
  [[nodiscard]] std::string_view name() const override { return "int4_residual_v1"; }
  [[nodiscard]] int64_t column_multiple() const override { return 16; }
  [[nodiscard]] ErrorInterval error_interval() const override { return {0.012, 0.04}; }
  [[nodiscard]] float max_magnitude() const override { return 65504.0F; }
  [[nodiscard]] std::vector<Component> components(const Shape& shape) const override {
    const int64_t cols = shape.cols(), rows = cols > 0 ? shape.elements() / cols : 0;
    return {component("codes", "U8", Shape{rows, cols / 2}, 1),
            component("scales", "F16", Shape{rows, cols / 16}, 2),
            component("residual", "U8", Shape{rows, cols / 4}, 1),
            component("residual_scales", "F16", Shape{rows, (cols + 63) / 64}, 2)};
  }
  void encode(const Shape& shape, std::span<const float> weights, std::span<const float>,
              std::span<const std::span<std::byte>> parts) const override {
    for (const auto& part : parts) std::fill(part.begin(), part.end(), std::byte{0});
    ThreadPool pool(0);
    pool.parallel_for(shape.elements() / shape.cols(), 16, [&](int64_t begin, int64_t end, int) {
      for (int64_t row = begin; row < end; ++row) encode_row(shape.cols(), weights.data(), row, parts);
    });
  }
  void decode_rows(const Shape& shape, std::span<const std::span<const std::byte>> parts, int64_t first,
                   int64_t count, float* out) const override {
    const int4::Expanders& expand = int4::expanders();
    const auto cols = static_cast<size_t>(shape.cols()), groups = (cols + 63) / 64;
    const auto* codes = reinterpret_cast<const uint8_t*>(parts[kCodes].data());
    const auto* residual = reinterpret_cast<const uint8_t*>(parts[kResidual].data());
    std::vector<float> scales(cols / kGroup), offsets(scales.size()), rest(cols);
    for (auto row = static_cast<size_t>(first); row < static_cast<size_t>(first + count); ++row, out += cols) {
      expand.halves(parts[kScales].data() + row * scales.size() * sizeof(uint16_t), scales.size(),
                    scales.data());
      for (size_t g = 0; g < scales.size(); ++g) offsets[g] = -8 * scales[g];
      expand.lines({codes + row * cols / 2, cols, kGroup, scales.data(), offsets.data()}, out);
      for (size_t g = 0; g < groups; ++g) {
        const size_t from = g * kResidualGroup;
        const float scale = load_half(parts[kResidualScales], row * groups + g);
        expand.quarters(residual + (row * cols + from) / 4, std::min(kResidualGroup, cols - from), scale,
                        -1.5F * scale, rest.data() + from);
      }
      expand.add(1, rest.data(), cols, out);
    }
  }

 private:
  static void encode_row(int64_t columns, const float* weights, int64_t at,
                         std::span<const std::span<std::byte>> parts) {
    const auto cols = static_cast<size_t>(columns), row = static_cast<size_t>(at), groups = (cols + 63) / 64;
    const float* w = weights + row * cols;
    const std::vector<float> ones(cols, 1.0F);
    std::vector<float> left(cols), correction(cols, 0.0F);
    std::vector<uint8_t> codes(cols), residual(cols), best_codes, best_residual;
    std::vector<uint16_t> scales(cols / kGroup), residual_scales(groups), best_scales, best_residual_scales;
    double best = HUGE_VAL;
    for (int round = 0; round < 4; ++round) {
      for (size_t j = 0; j < cols; ++j) left[j] = w[j] - correction[j];
      for (size_t g = 0; g < scales.size(); ++g) {
        const size_t first = g * kGroup;
        scales[g] = fit_group(&left[first], ones.data(), kGroup, 4, false, 3, &codes[first]).scale;
        for (size_t j = first; j < first + kGroup; ++j)
          left[j] = w[j] - half_to_float(scales[g]) * static_cast<float>(codes[j] - 8);
      }
      double error = 0;
      for (size_t g = 0; g < groups; ++g) {
        const size_t first = g * kResidualGroup, n = std::min(kResidualGroup, cols - first);
        residual_scales[g] = fit_residual(&left[first], n, &residual[first]);
        for (size_t j = first; j < first + n; ++j) {
          correction[j] = half_to_float(residual_scales[g]) * (static_cast<float>(residual[j]) - 1.5F);
          error += static_cast<double>((left[j] - correction[j]) * (left[j] - correction[j]));
        }
      }
      if (!(error < best)) continue;
      best = error;
      best_codes = codes;
      best_residual = residual;
      best_scales = scales;
      best_residual_scales = residual_scales;
    }
    if (best_codes.empty()) return;
    for (size_t j = 0; j < cols; ++j) {
      const size_t to = row * cols + j;
      parts[kCodes][to / 2] |= static_cast<std::byte>(best_codes[j] << (4 * (to % 2)));
      parts[kResidual][to / 4] |= static_cast<std::byte>(best_residual[j] << (2 * (to % 4)));
    }
    for (size_t g = 0; g < scales.size(); ++g) store(parts[kScales], row * scales.size() + g, best_scales[g]);
    for (size_t g = 0; g < groups; ++g)
      store(parts[kResidualScales], row * groups + g, best_residual_scales[g]);
  }
};

}  // namespace

const Codec& int4_residual_codec() {
  static const ResidualCodec codec;
  return codec;
}

}  // namespace lissom
