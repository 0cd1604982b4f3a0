#include "eval/statistics.h"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace lissom {

Estimate mean_of(std::span<const double> values) {
  if (values.empty()) return {};
  const auto n = static_cast<double>(values.size());
  double sum = 0;
  for (const double v : values) sum += v;
  const double mean = sum / n;
  double squares = 0;
  for (const double v : values) squares += (v - mean) * (v - mean);
  return {mean, values.size() < 2 ? 0 : std::sqrt(squares / (n - 1) / n)};
}

Estimate exp_mean_of(std::span<const double> values) {
  const Estimate mean = mean_of(values);
  return {std::exp(mean.value), std::exp(mean.value) * mean.error};
}

Estimate share_of(int64_t hits, int64_t n) {
  if (n < 1) return {};
  const double p = static_cast<double>(hits) / static_cast<double>(n);
  return {p, n < 2 ? 0 : std::sqrt(p * (1 - p) / static_cast<double>(n - 1))};
}

namespace {

/// Linear between the neighbours of a real rank, held inside the sample.
double at_rank(std::span<const double> sorted, double rank) {
  const double last = static_cast<double>(sorted.size() - 1);
  rank = std::clamp(rank, 0.0, last);
  const auto low = static_cast<size_t>(rank);
  const size_t high = std::min(low + 1, sorted.size() - 1);
  const double t = rank - static_cast<double>(low);
  return sorted[low] + t * (sorted[high] - sorted[low]);
}

}  // namespace

Estimate quantile_of(std::span<const double> sorted, double q) {
  assert(!sorted.empty());
  const auto n = static_cast<double>(sorted.size());
  const double rank = q * (n - 1), spread = std::sqrt(n * q * (1 - q));
  // Near the end of a small sample one side is cut short: the other one then stands for both.
  const double value = at_rank(sorted, rank);
  const double below = value - at_rank(sorted, rank - spread), above = at_rank(sorted, rank + spread) - value;
  const bool cut = rank + spread > n - 1 || rank - spread < 0;
  return {value, cut ? std::max(below, above) : (below + above) / 2};
}

Estimate max_of(std::span<const double> sorted) {
  assert(!sorted.empty());
  const auto n = static_cast<double>(sorted.size());
  double mean = 0, square = 0;
  const double top = sorted.back();
  for (size_t i = sorted.size(); i > 0; --i) {
    const double reach = std::pow(static_cast<double>(i) / n, n);
    if (reach < 1e-18) break;  // the rest cannot matter
    const double weight = reach - std::pow(static_cast<double>(i - 1) / n, n);
    const double d =
        sorted[i - 1] - top;  // relative to the maximum, so that the difference below keeps its digits
    mean += weight * d;
    square += weight * d * d;
  }
  return {top, std::sqrt(std::max(0.0, square - mean * mean))};
}

EvalResult summarize(const TokenScores& scores) {
  EvalResult result;
  result.tokens = static_cast<int64_t>(scores.nll.size());
  result.ppl = exp_mean_of(scores.nll);
  if (scores.nll_base.empty()) return result;
  result.has_base = true;
  result.ppl_base = exp_mean_of(scores.nll_base);
  std::vector<double> scratch(scores.nll.size());
  for (size_t i = 0; i < scratch.size(); ++i) scratch[i] = scores.nll[i] - scores.nll_base[i];
  result.ln_ppl_ratio = mean_of(scratch);
  result.kld_mean = mean_of(scores.kld);
  result.same_top = share_of(scores.same_top, result.tokens);
  scratch = scores.kld;
  std::ranges::sort(scratch);
  const auto put = [](const Estimate& e, double& value, double& error) {
    value = e.value;
    error = e.error;
  };
  put(quantile_of(scratch, 0.5), result.kld_median, result.kld_median_error);
  put(quantile_of(scratch, 0.9), result.kld_p90, result.kld_p90_error);
  put(quantile_of(scratch, 0.99), result.kld_p99, result.kld_p99_error);
  put(max_of(scratch), result.kld_max, result.kld_max_error);
  return result;
}

}  // namespace lissom
