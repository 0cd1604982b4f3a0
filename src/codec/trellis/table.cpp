// The codebook: quantiles of the Gaussian, one for each state, and what errors they give.

#include <array>
#include <cmath>
#include <queue>

#include "codec/trellis/trellis.h"

namespace lissom::trellis {

namespace {

/// Quantile of the Gaussian, P. J. Acklam's rational approximation; relative error 1e-9.
double quantile(double p) {
  constexpr double a[] = {-39.69683028665376, 220.9460984245205,  -275.9285104469687,
                          138.3577518672690,  -30.66479806614716, 2.506628277459239};
  constexpr double b[] = {-54.47609879822406, 161.5858368580409,  -155.6989798598866,
                          66.80131188771972,  -13.28068155288572, 1};
  constexpr double c[] = {-0.007784894002430293, -0.3223964580411365, -2.400758277161838,
                          -2.549732539343734,    4.374664141464968,   2.938163982698783};
  constexpr double d[] = {0.007784695709041462, 0.3224671290700398, 2.445134137142996, 3.754408661907416, 1};
  const auto polynomial = [](std::span<const double> of, double x) {
    double sum = 0;
    for (double coefficient : of) sum = sum * x + coefficient;
    return sum;
  };
  if (p > 0.5) return -quantile(1 - p);
  if (p < 0.02425) {
    const double q = std::sqrt(-2 * std::log(p));
    return polynomial(c, q) / polynomial(d, q);
  }
  const double q = p - 0.5;
  return polynomial(a, q * q) * q / polynomial(b, q * q);
}

/// Which quantile a state gets. Bit i of the state, flipped by a hash of the older bits only, is bit
/// window-1-i of the place: for every k the 2^k newest bits choose among 2^k equal parts of the distribution.
uint32_t place_of(uint32_t state, int window) {
  uint32_t place = 0;
  for (int i = 0; i < window; ++i) {
    uint32_t h = ((state >> (i + 1)) + 1) * 0x9e3779b1U + static_cast<uint32_t>(i) * 0x85ebca6bU;
    h = (h ^ (h >> 15)) * 0x2c1b3c6dU;
    h = (h ^ (h >> 12)) * 0x297a2d39U;
    h ^= h >> 15;
    place |= (((state >> i) ^ (h >> 7)) & 1U) << (window - 1 - i);
  }
  return place;
}

struct Table {
  std::vector<float> by_search, by_bits;
};

Table make_table(int window) {
  const uint32_t states = 1U << window;
  Table table{std::vector<float>(states), std::vector<float>(states)};
  for (uint32_t state = 0; state < states; ++state) {
    const double q = quantile((place_of(state, window) + 0.5) / states);
    // Rounded so far that no two mathematics libraries disagree.
    const auto value = static_cast<float>(std::nearbyint(q * 8192) / 8192);
    uint32_t reversed = 0;
    for (int i = 0; i < window; ++i) reversed |= ((state >> i) & 1U) << (window - 1 - i);
    table.by_search[state] = value;
    table.by_bits[reversed] = value;
  }
  return table;
}

const Table& table_of(int window) {
  static const Table quick = make_table(12);
  if (window == 12) return quick;
  static const Table wide = make_table(14);
  return wide;
}

}  // namespace

const float* state_values(int window) {
  return table_of(window).by_bits.data();
}

const float* search_values(int window) {
  return table_of(window).by_search.data();
}

double distortion(int rate) {
  // Measured with window 12 and height 256.
  constexpr std::array<double, kMaxRate + 1> measured{1,      0.279,   0.0715,  0.0184,  0.0048,
                                                      0.0013, 0.00037, 0.00011, 0.000035};
  return measured[static_cast<size_t>(rate)];
}

float column_scale(uint8_t code) {
  static const auto scales = [] {
    std::array<float, 256> list{};
    constexpr std::array<float, 8> eighths{1.0F,          1.0905077326F, 1.1892071150F, 1.2968395546F,
                                           1.4142135623F, 1.5422108254F, 1.6817928305F, 1.8340080864F};
    for (int i = 1; i < 256; ++i)
      list[static_cast<size_t>(i)] = std::ldexp(eighths[static_cast<size_t>((i + 1) % 8)], (i + 1) / 8 - 32);
    return list;
  }();
  return scales[code];
}

uint8_t column_code(float scale) {
  if (!(scale > 0)) return 0;
  const float code = 255 + std::nearbyint(8 * std::log2(scale));
  return static_cast<uint8_t>(std::clamp(code, 1.0F, 255.0F));
}

std::vector<uint8_t> choose_rates(std::span<const double> costs, int64_t total) {
  // distortion() is convex, so that taking the best single bit each time is the best of all.
  struct Gain {
    double gain;
    size_t column;
    bool operator<(const Gain& other) const {
      return gain < other.gain || (gain == other.gain && column > other.column);
    }
  };
  std::vector<uint8_t> rates(costs.size(), 0);
  std::priority_queue<Gain> queue;
  const auto offer = [&](size_t j) {
    if (rates[j] < kMaxRate) queue.push({costs[j] * (distortion(rates[j]) - distortion(rates[j] + 1)), j});
  };
  for (size_t j = 0; j < costs.size(); ++j) offer(j);
  for (int64_t bit = 0; bit < total && !queue.empty(); ++bit) {
    const size_t j = queue.top().column;
    queue.pop();
    ++rates[j];
    offer(j);
  }
  return rates;
}

Geometry geometry(const Shape& shape, int half_bits) {
  Geometry g;
  g.cols = shape.cols();
  g.rows = g.cols > 0 ? shape.elements() / g.cols : 0;
  g.blocks = (g.rows + kMaxHeight - 1) / kMaxHeight;
  g.height = g.blocks > 0 ? ((g.rows + g.blocks - 1) / g.blocks + 7) / 8 * 8 : 0;
  g.rate_sum = half_bits * g.cols / 2;
  g.stream_bytes = 4 + g.height * g.rate_sum / 8;
  g.outliers = (g.height * g.cols + 2047) / 2048;
  return g;
}

}  // namespace lissom::trellis
