#include <algorithm>
#include <cmath>

#include "codec/int4/int4.h"

namespace lissom::int4 {

Component component(const char* suffix, const char* type, const Shape& shape, int64_t size) {
  return Component{suffix, type, shape, static_cast<uint64_t>(shape.elements() * size)};
}

std::vector<float> relative_importance(std::span<const float> importance, int64_t cols) {
  std::vector<float> relative(static_cast<size_t>(cols), 1.0F);
  double sum = 0;
  for (float v : importance) sum += static_cast<double>(v);
  if (!(sum > 0)) return relative;
  for (size_t j = 0; j < relative.size(); ++j)
    relative[j] =
        static_cast<float>(static_cast<double>(importance[j]) / sum * static_cast<double>(cols) + 1e-2);
  return relative;
}

namespace {

/// Rounds to nearest even; |x| < 2^22. std::nearbyint is a call on machines without SSE4.1.
inline float whole(float x) {
  return (x + 12582912.0F) - 12582912.0F;
}

/// Codes on a line, and with them the sums of least squares.
struct Sums {
  double v = 0, q = 0, qq = 0, w = 0, qw = 0, ww = 0;
};

void round_on(const Line& line, const float* w, size_t n, float top, float* q) {
  const float inverse = line.scale != 0 ? 1 / line.scale : 0;
  if (!std::isfinite(inverse)) {
    std::fill(q, q + n, 0.0F);
    return;
  }
  for (size_t i = 0; i < n; ++i) {
    const float x = (w[i] - line.offset) * inverse;
    q[i] = whole(std::min(std::max(x, 0.0F), top));
  }
}

Sums sums_of(const float* w, const float* v, const float* q, size_t n) {
  Sums s;
  for (size_t i = 0; i < n; ++i) {
    const auto a = static_cast<double>(v[i]), x = static_cast<double>(w[i]), c = static_cast<double>(q[i]);
    s.v += a;
    s.q += a * c;
    s.qq += a * c * c;
    s.w += a * x;
    s.qw += a * c * x;
    s.ww += a * x * x;
  }
  return s;
}

double error_of(const Sums& s, const Line& line) {
  const auto a = static_cast<double>(line.scale), b = static_cast<double>(line.offset);
  return std::max(0.0, s.ww + a * a * s.qq + b * b * s.v + 2 * a * b * s.q - 2 * a * s.qw - 2 * b * s.w);
}

/// The line as it will be stored. Without an offset of its own it runs through zero at the middle level.
Line stored(double scale, double offset, bool with_offset, float middle, Fit& fit) {
  const auto limit = [](double x) { return static_cast<float>(std::clamp(x, -65504.0, 65504.0)); };
  fit.scale = float_to_half(limit(scale));
  const float a = half_to_float(fit.scale);
  if (!with_offset) return {a, -middle * a};
  fit.offset = float_to_half(limit(offset));
  return {a, half_to_float(fit.offset)};
}

}  // namespace

Line line_of(const Fit& fit, int bits, bool with_offset) {
  const float scale = half_to_float(fit.scale);
  return {scale, with_offset ? half_to_float(fit.offset) : -scale * static_cast<float>(1 << (bits - 1))};
}

uint8_t code_of(const Line& line, float w, int bits) {
  float code = 0;
  round_on(line, &w, 1, static_cast<float>((1 << bits) - 1), &code);
  return static_cast<uint8_t>(code);
}

Fit fit_group(const float* w, const float* v, size_t n, int bits, bool with_offset, int rounds,
              uint8_t* codes) {
  const auto top = static_cast<float>((1 << bits) - 1), middle = static_cast<float>(1 << (bits - 1));
  float low = HUGE_VALF, high = -HUGE_VALF;
  for (size_t i = 0; i < n; ++i)
    if (v[i] > 0) {
      low = std::min(low, w[i]);
      high = std::max(high, w[i]);
    }
  std::vector<float> q(n), best_q(n, with_offset ? 0.0F : middle);
  Fit best;
  best.error = error_of(sums_of(w, v, best_q.data(), n), {0, 0});
  const auto consider = [&](double scale, double offset) {
    Fit fit;
    Line line = stored(scale, offset, with_offset, middle, fit);
    for (int round = 0; round <= rounds; ++round) {
      round_on(line, w, n, top, q.data());
      const Sums s = sums_of(w, v, q.data(), n);
      fit.error = error_of(s, line);
      if (fit.error < best.error) {
        best = fit;
        best_q = q;
      } else if (round > 0) {
        return;
      }
      // Least squares for these codes.
      if (with_offset) {
        const double d = s.v * s.qq - s.q * s.q;
        if (!(d > 0)) return;
        const double a = (s.v * s.qw - s.q * s.w) / d;
        line = stored(a, (s.w - a * s.q) / s.v, true, middle, fit);
      } else {
        const auto m = static_cast<double>(middle);
        const double xx = s.qq - 2 * m * s.q + m * m * s.v;
        if (!(xx > 0)) return;
        line = stored((s.qw - m * s.w) / xx, 0, false, middle, fit);
      }
    }
  };
  if (high >= low) {
    const auto lo = static_cast<double>(low), hi = static_cast<double>(high);
    for (const double part : {1.0, 0.92, 0.84, 0.75, 0.65}) {
      if (with_offset) {
        const double center = (hi + lo) / 2, range = (hi - lo) * part;
        consider(range / static_cast<double>(top), center - range / 2);
      } else {
        // The one level more lies on the side of the largest.
        const double largest = hi > -lo ? hi : lo;
        consider(-largest * part / static_cast<double>(middle), 0);
        consider(-largest * part / static_cast<double>(middle - 0.5F), 0);
      }
    }
  }
  for (size_t i = 0; i < n; ++i) codes[i] = static_cast<uint8_t>(best_q[i]);
  return best;
}

}  // namespace lissom::int4
