#include "compress/algorithms/fold/scales.h"

#include <algorithm>
#include <cmath>

namespace lissom {
namespace {

constexpr int kSteps = 10;          // of alpha, up to 1
constexpr double kLargest = 64;     // factor, and its inverse the smallest
constexpr double kLeastGain = .99;  // on text that the choice has not seen
constexpr int64_t kGrain = int64_t{1} << 14;

/// What the codec makes of rows.
void round_trip(ThreadPool& pool, const Codec& codec, int64_t rows, int64_t cols, std::span<const float> w,
                std::span<const float> importance, float* back) {
  const auto code = [&](int64_t first, int64_t count) {
    const Shape shape{count, cols};
    std::vector<std::vector<std::byte>> bytes;
    for (const Component& part : codec.components(shape)) bytes.emplace_back(part.bytes);
    const std::vector<std::span<std::byte>> parts(bytes.begin(), bytes.end());
    codec.encode(
        shape, w.subspan(static_cast<size_t>(first * cols), static_cast<size_t>(count * cols)), importance, parts);
    const std::vector<std::span<const std::byte>> stored(bytes.begin(), bytes.end());
    codec.decode_rows(shape, stored, 0, count, back + first * cols);
  };
  // Rows of blocks are encoded on their own; other codecs have parts that rows share.
  if (dynamic_cast<const BlockCodec*>(&codec) == nullptr) return code(0, rows);
  pool.parallel_for(rows, std::max<int64_t>(1, kGrain / cols),
                    [&](int64_t first, int64_t last, int) { code(first, last - first); });
}

struct Errors {
  std::vector<double> fit, judge;  ///< of each linear
};

/// With these factors of the columns.
Errors errors_with(ThreadPool& pool, const ScaledInput& input, const std::vector<float>& factors) {
  Errors errors;
  const auto cols = static_cast<size_t>(input.columns);
  for (const ScaledLinear& linear : input.linears) {
    std::vector<float> scaled = linear.weights, importance = linear.importance;
    for (size_t i = 0; i < scaled.size(); ++i) scaled[i] *= factors[i % cols];
    for (size_t c = 0; c < importance.size(); ++c) importance[c] /= factors[c] * factors[c];
    std::vector<float> back(scaled.size());
    round_trip(pool, *linear.codec, linear.rows, input.columns, scaled, importance, back.data());
    for (size_t i = 0; i < back.size(); ++i) back[i] = back[i] / factors[i % cols] - linear.weights[i];
    std::vector<double> rows(static_cast<size_t>(linear.rows));
    const auto sum_on = [&](const SquareMatrix& moments) {
      quadratic_forms(pool, moments, back.data(), linear.rows, rows.data());
      double sum = 0;
      for (const double row : rows) sum += row;
      return sum;
    };
    errors.fit.push_back(sum_on(input.fit));
    errors.judge.push_back(sum_on(input.judge));
  }
  return errors;
}

/// Of the linears, each against its own: q and k speak louder than v, and matter no more.
double mean_ratio(const std::vector<double>& errors, const std::vector<double>& plain) {
  double sum = 0;
  for (size_t i = 0; i < errors.size(); ++i) sum += plain[i] > 0 ? errors[i] / plain[i] : 1.0;
  return sum / static_cast<double>(std::max<size_t>(errors.size(), 1));
}

/// Root mean squares of the channels, of inputs and of weights.
std::vector<double> input_sizes(const ScaledInput& input) {
  std::vector<double> sum(static_cast<size_t>(input.channels)), count(sum.size());
  for (int64_t c = 0; c < input.columns; ++c) {
    const auto channel = static_cast<size_t>(input.channel[static_cast<size_t>(c)]);
    sum[channel] += static_cast<double>(input.fit.row(c)[c]);
    count[channel] += 1;
  }
  for (size_t i = 0; i < sum.size(); ++i) sum[i] = std::sqrt(std::max(sum[i], 0.0) / std::max(count[i], 1.0));
  return sum;
}

std::vector<double> weight_sizes(const ScaledInput& input) {
  std::vector<double> sum(static_cast<size_t>(input.channels));
  for (const ScaledLinear& linear : input.linears)
    for (size_t i = 0; i < linear.weights.size(); ++i) {
      const size_t column = i % static_cast<size_t>(input.columns);
      const auto w = static_cast<double>(linear.weights[i]);
      sum[static_cast<size_t>(input.channel[column])] += w * w;
    }
  for (double& s : sum) s = std::sqrt(s);
  return sum;
}

/// Sizes around 1: their geometric mean is 1. Those that are hardly there count as small ones. Empty: all are.
std::vector<double> normalized(std::vector<double> sizes) {
  const double most = *std::ranges::max_element(sizes);
  if (!(most > 0) || !std::isfinite(most)) return {};
  double logs = 0;
  for (double& s : sizes) {
    s = std::max(s, most * 1e-6);
    logs += std::log(s);
  }
  const double mean = std::exp(logs / static_cast<double>(sizes.size()));
  for (double& s : sizes) s /= mean;
  return sizes;
}

}  // namespace

ScaleChoice choose_scales(ThreadPool& pool, const ScaledInput& input) {
  ScaleChoice choice;
  if (input.linears.empty() || input.channels == 0) return choice;
  const std::vector<double> inputs = normalized(input_sizes(input)), weights = normalized(weight_sizes(input));
  if (inputs.empty() || weights.empty()) return choice;
  const Errors plain = errors_with(pool, input, std::vector<float>(static_cast<size_t>(input.columns), 1.0F));
  for (const bool by_weight : {false, true})
    for (int step = by_weight ? 0 : 1; step <= kSteps - (by_weight ? 1 : 0); ++step) {
      const double alpha = static_cast<double>(step) / kSteps;
      std::vector<float> factors;
      for (size_t i = 0; i < inputs.size(); ++i) {
        double f = std::pow(inputs[i], alpha);
        if (by_weight) f /= std::pow(weights[i], 1 - alpha);
        factors.push_back(static_cast<float>(std::clamp(f, 1 / kLargest, kLargest)));
      }
      std::vector<float> of_columns;
      for (const int32_t channel : input.channel) of_columns.push_back(factors[static_cast<size_t>(channel)]);
      const Errors errors = errors_with(pool, input, of_columns);
      const double ratio = mean_ratio(errors.fit, plain.fit);
      if (!(ratio < choice.fit_ratio)) continue;
      choice = {std::move(factors), alpha, by_weight, ratio, mean_ratio(errors.judge, plain.judge)};
    }
  if (!(choice.judge_ratio < kLeastGain)) choice.factors.clear();
  return choice;
}

}  // namespace lissom
