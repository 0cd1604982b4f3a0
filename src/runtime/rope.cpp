#include "runtime/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>

namespace lissom::runtime {
namespace {

/// Llama 3.1: long wavelengths are stretched by `factor`, short ones kept, those between interpolated.
double llama3(const Rope& r, double frequency) {
  const double context = static_cast<double>(r.original_context);
  const double wavelength = 2 * std::numbers::pi / frequency;
  if (wavelength < context / r.high_freq_factor) return frequency;
  if (wavelength > context / r.low_freq_factor) return frequency / r.factor;
  const double smooth =
      (context / wavelength - r.low_freq_factor) / (double{r.high_freq_factor} - double{r.low_freq_factor});
  return (1 - smooth) * frequency / r.factor + smooth * frequency;
}

/// YaRN (Peng et al. 2023): the pair that turns `rotations` times over the original context.
double yarn_pair(const Rope& r, double rotations) {
  const double context = static_cast<double>(r.original_context);
  return r.dim * std::log(context / (rotations * 2 * std::numbers::pi)) / (2 * std::log(double{r.base}));
}

void yarn(const Rope& r, std::vector<double>& frequencies) {
  const double low = std::max(std::floor(yarn_pair(r, r.beta_fast)), 0.0);
  double high = std::min(std::ceil(yarn_pair(r, r.beta_slow)), r.dim - 1.0);
  if (low == high) high += 0.001;  // keeps the ramp finite, as transformers does
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    frequencies[i] = frequencies[i] / r.factor * ramp + frequencies[i] * (1 - ramp);
  }
}

}  // namespace

Result<RopeFrequencies> rope_frequencies(const Rope& r, int64_t positions) {
  const auto refuse = [](const std::string& what) { return bad_input("RoPE: " + what); };
  if (r.dim < 2 || r.dim % 2 != 0 || r.dim > 65536) return refuse("dimension " + std::to_string(r.dim));
  if (!(r.base > 0) || !std::isfinite(r.base)) return refuse("base " + std::to_string(r.base));
  if (r.scaling != RopeScaling::none && (!(r.factor > 0) || !std::isfinite(r.factor)))
    return refuse("factor " + std::to_string(r.factor));
  const bool needs_context = r.scaling == RopeScaling::llama3 || r.scaling == RopeScaling::yarn;
  if (needs_context && r.inv_freq_divisor.empty() && r.original_context <= 0)
    return refuse("the scaling needs the original context length");
  const size_t pairs = static_cast<size_t>(r.dim) / 2;
  const bool longrope = r.scaling == RopeScaling::longrope;
  const auto& divisors = !longrope                        ? r.inv_freq_divisor
                         : positions > r.original_context ? r.long_divisor
                                                          : r.short_divisor;
  if ((longrope || !divisors.empty()) && divisors.size() != pairs)
    return refuse(std::to_string(divisors.size()) + " divisors for " + std::to_string(pairs) + " pairs");

  std::vector<double> f(pairs);
  for (size_t i = 0; i < pairs; ++i) f[i] = std::pow(double{r.base}, -2.0 * static_cast<double>(i) / r.dim);
  RopeFrequencies result;
  if (!divisors.empty()) {
    for (size_t i = 0; i < pairs; ++i) f[i] /= double{divisors[i]};
    if (longrope && r.attention_factor > 0) result.magnitude = r.attention_factor;
  } else if (r.scaling == RopeScaling::llama3) {
    if (!(r.high_freq_factor > r.low_freq_factor) || !(r.low_freq_factor > 0))
      return refuse("low_freq_factor must be below high_freq_factor");
    for (double& x : f) x = llama3(r, x);
  }
  if (r.scaling == RopeScaling::linear) {
    for (double& x : f) x /= r.factor;
  } else if (r.scaling == RopeScaling::yarn) {
    if (!(r.beta_fast > 0) || !(r.beta_slow > 0) || r.base == 1.0F)
      return refuse("beta_fast and beta_slow must be positive");
    yarn(r, f);
    const double derived = r.factor > 1 ? 0.1 * std::log(double{r.factor}) + 1 : 1.0;
    result.magnitude = r.attention_factor > 0 ? r.attention_factor : static_cast<float>(derived);
  }
  for (const double x : f) {
    if (!std::isfinite(x)) return refuse("a divisor makes a frequency infinite");
    result.inverse.push_back(static_cast<float>(x));
  }
  return result;
}

void RopeTable::extend(int64_t end) {
  if (end <= made_) return;
  end = std::max(end, std::min(2 * made_, made_ + 4096));
  table_.resize(static_cast<size_t>(end * 2 * pairs()));
  for (int64_t p = made_; p < end; ++p) {
    float* row = table_.data() + p * 2 * pairs();
    for (int64_t i = 0; i < pairs(); ++i) {
      // The angle is rounded to F32 as transformers rounds it: at large positions that moves it by more than
      // the cosine's own rounding.
      const float angle = static_cast<float>(p) * frequencies_.inverse[static_cast<size_t>(i)];
      row[i] = static_cast<float>(std::cos(double{angle}) * double{frequencies_.magnitude});
      row[pairs() + i] = static_cast<float>(std::sin(double{angle}) * double{frequencies_.magnitude});
    }
  }
  made_ = end;
}

}  // namespace lissom::runtime
