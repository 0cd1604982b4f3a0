// int4_opt_llama_v1: sixteen uneven levels fitted to each matrix, and an F16 scale with a sign for every 64
// columns: every width of Llama-like models is a multiple of 64. Beside even levels with scale and offset (INT4
// of the same group, 4.5 bits) it takes 4.25 bits and gives the lower error on such matrices, whose groups are
// near Gaussian.
//
//   codes   U8  [rows, cols/2]    two codes a byte, the first in the low half
//   scales  F16 [rows, cols/64 rounded up]
//   levels  F16 [16]              ascending
// ŵ = scale · level[code]

#include <algorithm>
#include <cmath>

#include "base/threads.h"
#include "codec/builtin.h"
#include "codec/int4/expand.h"
#include "codec/int4/int4.h"

namespace lissom {

namespace {

using namespace int4;

constexpr size_t kGroup = 64;
using Levels = std::array<float, 16>;

struct Choice {
  uint16_t scale = 0;
  double error = 0;
};

/// Nearest levels of w / scale.
void round_to(const Levels& levels, float scale, const float* w, size_t n, uint8_t* codes) {
  std::array<float, 15> middle;
  for (size_t k = 0; k < 15; ++k) middle[k] = (levels[k] + levels[k + 1]) / 2;
  const float inverse = 1 / scale;
  for (size_t i = 0; i < n; ++i) {
    const float x = w[i] * inverse;
    int code = 0;
    for (const float m : middle) code += x > m ? 1 : 0;
    codes[i] = static_cast<uint8_t>(code);
  }
}

/// The best of several scales, each refined by least squares.
Choice fit_scale(const Levels& levels, const float* w, const float* v, size_t n, uint8_t* codes) {
  float largest = 0;
  double energy = 0;
  for (size_t i = 0; i < n; ++i) {
    if (std::fabs(w[i]) > std::fabs(largest)) largest = w[i];
    energy += static_cast<double>(v[i]) * static_cast<double>(w[i]) * static_cast<double>(w[i]);
  }
  Choice best{0, energy};
  std::vector<uint8_t> trial(n);
  std::fill(codes, codes + n, uint8_t{0});
  for (const float end : {levels[15], levels[0]})
    for (const float part : {1.05F, 0.93F, 0.82F, 0.72F}) {
      double scale = static_cast<double>(largest * part / end);
      for (int round = 0; round < 3; ++round) {
        const uint16_t half = float_to_half(static_cast<float>(std::clamp(scale, -65504.0, 65504.0)));
        const float s = half_to_float(half);
        if (s == 0 || !std::isfinite(1 / s)) break;
        round_to(levels, s, w, n, trial.data());
        double xx = 0, xy = 0;
        for (size_t i = 0; i < n; ++i) {
          const auto a = static_cast<double>(v[i]), x = static_cast<double>(levels[trial[i]]);
          xx += a * x * x;
          xy += a * x * static_cast<double>(w[i]);
        }
        const double q = static_cast<double>(s), error = energy - 2 * q * xy + q * q * xx;
        if (!(error < best.error)) break;
        best = {half, error};
        std::copy(trial.begin(), trial.end(), codes);
        if (!(xx > 0)) break;
        scale = xy / xx;
      }
    }
  return best;
}

/// Lloyd's algorithm over some of the groups, from the levels that suit a Gaussian.
Levels fit_levels(const float* weights, const std::vector<float>& v, size_t rows, size_t cols) {
  Levels levels{-1.0F, -0.78F, -0.62F, -0.49F, -0.37F, -0.27F, -0.17F, -0.08F,
                0.01F, 0.10F,  0.19F,  0.29F,  0.40F,  0.52F,  0.68F,  0.88F};
  const size_t groups = (cols + kGroup - 1) / kGroup, all = rows * groups,
               step = std::max<size_t>(1, all / 2048);
  std::array<uint8_t, kGroup> codes{};
  for (int round = 0; round < 6; ++round) {
    std::array<double, 16> sum{}, count{};
    for (size_t at = 0; at < all; at += step) {
      const size_t first = at % groups * kGroup, n = std::min(kGroup, cols - first);
      const float* w = weights + at / groups * cols + first;
      const Choice choice = fit_scale(levels, w, &v[first], n, codes.data());
      const auto scale = static_cast<double>(half_to_float(choice.scale));
      for (size_t i = 0; i < n; ++i) {
        const auto a = static_cast<double>(v[first + i]);
        sum[codes[i]] += a * scale * static_cast<double>(w[i]);
        count[codes[i]] += a * scale * scale;
      }
    }
    for (size_t k = 0; k < 16; ++k)
      if (count[k] > 0) levels[k] = static_cast<float>(sum[k] / count[k]);
    std::sort(levels.begin(), levels.end());
    const float largest = std::max(std::fabs(levels[0]), std::fabs(levels[15]));
    if (!(largest > 0)) break;
    for (float& x : levels) x /= largest;
  }
  for (float& x : levels) x = half_to_float(float_to_half(x));
  return levels;
}

class OptLlamaCodec final : public Codec, public FeedbackCodec {
 public:
  [[nodiscard]] std::string_view name() const override { return "int4_opt_llama_v1"; }
  [[nodiscard]] int64_t column_multiple() const override { return 2; }
  [[nodiscard]] ErrorInterval error_interval() const override { return {0.06, 0.12}; }
  [[nodiscard]] float max_magnitude() const override { return 65504.0F; }
  [[nodiscard]] std::vector<Component> components(const Shape& shape) const override {
    const int64_t cols = shape.cols(), rows = cols > 0 ? shape.elements() / cols : 0;
    return {component("codes", "U8", Shape{rows, cols / 2}, 1),
            component("scales", "F16", Shape{rows, (cols + 63) / 64}, 2),
            component("levels", "F16", Shape{rows > 0 ? 16 : 0}, 2)};
  }
  void encode(const Shape& shape, std::span<const float> weights, std::span<const float> importance,
              std::span<const std::span<std::byte>> parts) const override {
    encode_as(weights, relative_importance(importance, shape.cols()), nullptr, parts);
  }
  void encode_fed(const Shape& shape, std::span<const float> weights, const ColumnFeedback& feedback,
                  std::span<const std::span<std::byte>> parts) const override {
    encode_as(weights, relative_importance(feedback.d, shape.cols()), &feedback, parts);
  }
  void decode_rows(const Shape& shape, std::span<const std::span<const std::byte>> parts, int64_t first,
                   int64_t count, float* out) const override {
    const auto cols = static_cast<size_t>(shape.cols()), groups = (cols + kGroup - 1) / kGroup;
    Levels levels;
    for (size_t k = 0; k < 16; ++k) levels[k] = load_half(parts[2], k);
    const Expanders& expand = expanders();
    const auto* codes = reinterpret_cast<const uint8_t*>(parts[0].data());
    for (auto row = static_cast<size_t>(first); row < static_cast<size_t>(first + count); ++row, out += cols)
      for (size_t j = 0; j < cols; j += kGroup)
        expand.levels(codes + (row * cols + j) / 2, std::min(kGroup, cols - j),
                      load_half(parts[1], row * groups + j / kGroup), levels.data(), out + j);
  }

 private:
  /// v: the columns' importance, relative.
  static void encode_as(std::span<const float> weights, const std::vector<float>& v,
                        const ColumnFeedback* feedback, std::span<const std::span<std::byte>> parts) {
    const size_t cols = v.size(), rows = weights.size() / cols, groups = (cols + kGroup - 1) / kGroup;
    const Levels levels = fit_levels(weights.data(), v, rows, cols);
    for (size_t k = 0; k < 16; ++k) store(parts[2], k, float_to_half(levels[k]));
    ThreadPool pool(0);
    pool.parallel_for(static_cast<int64_t>(rows), 16, [&](int64_t begin, int64_t end, int) {
      std::vector<uint8_t> codes(cols);
      std::vector<float> scales(groups);
      for (auto row = static_cast<size_t>(begin); row < static_cast<size_t>(end); ++row) {
        const float* w = weights.data() + row * cols;
        const auto choose = [&](int64_t first, int64_t n, const float* targets) {
          const auto at = static_cast<size_t>(first);
          const Choice choice = fit_scale(levels, targets, &v[at], static_cast<size_t>(n), &codes[at]);
          store(parts[1], row * groups + at / kGroup, choice.scale);
          scales[at / kGroup] = half_to_float(choice.scale);
        };
        const auto round = [&](int64_t column, float target) {
          const auto at = static_cast<size_t>(column);
          const float scale = scales[at / kGroup];
          if (scale != 0) round_to(levels, scale, &target, 1, &codes[at]);
          return scale * levels[codes[at]];
        };
        if (feedback != nullptr) {
          round_row(*feedback, w, static_cast<int64_t>(kGroup), choose, round);
        } else {
          for (size_t first = 0; first < cols; first += kGroup)
            choose(static_cast<int64_t>(first), static_cast<int64_t>(std::min(kGroup, cols - first)),
                   w + first);
        }
        for (size_t j = 0; j < cols; j += 2)
          parts[0][(row * cols + j) / 2] = static_cast<std::byte>(codes[j] | codes[j + 1] << 4);
      }
    });
  }
};

}  // namespace

const Codec& int4_opt_llama_codec() {
  static const OptLlamaCodec codec;
  return codec;
}

}  // namespace lissom
