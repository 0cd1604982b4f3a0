#include "compress/algorithms/fold/scales.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

namespace lissom {
namespace {

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
    codec.encode(shape, w.subspan(static_cast<size_t>(first * cols), static_cast<size_t>(count * cols)),
                 importance, parts);
    const std::vector<std::span<const std::byte>> stored(bytes.begin(), bytes.end());
    codec.decode_rows(shape, stored, 0, count, back + first * cols);
  };
  // Rows of blocks are encoded on their own; other codecs have parts that rows share.
  if (dynamic_cast<const BlockCodec*>(&codec) == nullptr) return code(0, rows);
  pool.parallel_for(rows, std::max<int64_t>(1, kGrain / cols),
                    [&](int64_t first, int64_t last, int) { code(first, last - first); });
}

/// What encoding with these factors of the columns adds to each linear's rows.
std::vector<std::vector<float>> losses(ThreadPool& pool, const ScaledInput& input,
                                       const std::vector<float>& factors) {
  std::vector<std::vector<float>> out;
  const auto cols = static_cast<size_t>(input.columns);
  for (const ScaledLinear& linear : input.linears) {
    std::vector<float> scaled = linear.weights, importance = linear.importance;
    for (size_t i = 0; i < scaled.size(); ++i) scaled[i] *= factors[i % cols];
    for (size_t c = 0; c < importance.size(); ++c) importance[c] /= factors[c] * factors[c];
    std::vector<float>& back = out.emplace_back(scaled.size());
    round_trip(pool, *linear.codec, linear.rows, input.columns, scaled, importance, back.data());
    for (size_t i = 0; i < back.size(); ++i) back[i] = back[i] / factors[i % cols] - linear.weights[i];
  }
  return out;
}

/// Of each linear's outputs.
std::vector<double> errors_on(ThreadPool& pool, const SquareMatrix& moments,
                              const std::vector<std::vector<float>>& losses) {
  std::vector<double> errors;
  for (const std::vector<float>& loss : losses) {
    std::vector<double> rows(loss.size() / static_cast<size_t>(moments.n));
    quadratic_forms(pool, moments, loss.data(), static_cast<int64_t>(rows.size()), rows.data());
    double sum = 0;
    for (const double row : rows) sum += row;
    errors.push_back(sum);
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

/// Exponents in tenths: of the inputs' sizes, and of the inverse of the weights'.
using Exponents = std::pair<int, int>;

/// Tries exponents, each once.
class Search {
 public:
  Search(ThreadPool& pool, const ScaledInput& input)
      : pool_(pool),
        input_(input),
        inputs_(normalized(input_sizes(input))),
        weights_(normalized(weight_sizes(input))) {}

  /// From both ends, then by steps to the sides that fall off while one lowers the error (Hooke and Jeeves
  /// 1961).
  ScaleChoice run() {
    ScaleChoice choice;
    if (inputs_.empty() || weights_.empty()) return choice;
    const auto plain = losses(pool_, input_, std::vector<float>(static_cast<size_t>(input_.columns), 1.0F));
    plain_ = errors_on(pool_, input_.fit, plain);
    for (const Exponents& start : {Exponents{2, 8}, {5, 0}, {2, 4}}) attempt(start);
    for (const int step : {2, 1})
      for (bool moved = true; moved;) {
        moved = false;
        const Exponents from = best_;
        for (const Exponents& way : {Exponents{step, 0}, {-step, 0}, {0, step}, {0, -step}})
          moved = attempt({from.first + way.first, from.second + way.second}) || moved;
      }
    if (best_ == Exponents{}) return choice;
    choice.factors = factors(best_);
    choice.input_exponent = best_.first / kTenths;
    choice.weight_exponent = best_.second / kTenths;
    choice.fit_ratio = least_;
    choice.judge_ratio =
        mean_ratio(errors_on(pool_, input_.judge, losses(pool_, input_, of_columns(choice.factors))),
                   errors_on(pool_, input_.judge, plain));
    if (!(choice.judge_ratio < kLeastGain)) choice.factors.clear();
    return choice;
  }

 private:
  static constexpr double kTenths = 10;
  static constexpr int kMost = 12;

  [[nodiscard]] std::vector<float> factors(const Exponents& e) const {
    std::vector<float> out;
    for (size_t i = 0; i < inputs_.size(); ++i) {
      const double f = std::pow(inputs_[i], e.first / kTenths) / std::pow(weights_[i], e.second / kTenths);
      out.push_back(static_cast<float>(std::clamp(f, 1 / kLargest, kLargest)));
    }
    return out;
  }
  [[nodiscard]] std::vector<float> of_columns(const std::vector<float>& factors) const {
    std::vector<float> out;
    for (const int32_t channel : input_.channel) out.push_back(factors[static_cast<size_t>(channel)]);
    return out;
  }
  /// True where nothing was better.
  bool attempt(const Exponents& e) {
    if (e.first < 0 || e.second < 0 || e.first > kMost || e.second > kMost || !tried_.insert(e).second)
      return false;
    const auto lost = losses(pool_, input_, of_columns(factors(e)));
    const double ratio = mean_ratio(errors_on(pool_, input_.fit, lost), plain_);
    if (!(ratio < least_)) return false;
    least_ = ratio;
    best_ = e;
    return true;
  }

  ThreadPool& pool_;
  const ScaledInput& input_;
  std::vector<double> inputs_, weights_, plain_;
  std::set<Exponents> tried_ = {{0, 0}};
  Exponents best_ = {};
  double least_ = 1;
};

}  // namespace

ScaleChoice choose_scales(ThreadPool& pool, const ScaledInput& input) {
  if (input.linears.empty() || input.channels == 0) return {};
  return Search(pool, input).run();
}

}  // namespace lissom
