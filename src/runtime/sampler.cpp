#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "lissom/runtime.h"

namespace lissom {
namespace {

constexpr std::array<double, 14> kInverseFactorial = [] {
  std::array<double, 14> f{1.0};
  double factorial = 1;
  for (int k = 1; k < 14; ++k) f[static_cast<size_t>(k)] = 1 / (factorial *= k);
  return f;
}();

/// e^x for x ≤ 0, from additions and multiplications alone: the C library's differs between machines by a last
/// bit, and that bit may draw another token. Below -700 it is 0.
double exp_below_zero(double x) {
  if (!(x >= -700.0)) return 0.0;
  const double n = std::floor(x * 1.4426950408889634 + 0.5);
  const double r = (x - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10;  // ln 2 in two parts
  double sum = 0;
  for (size_t k = 14; k-- > 0;) sum = sum * r + kInverseFactorial[k];
  return sum * std::bit_cast<double>(static_cast<uint64_t>(1023 + static_cast<int64_t>(n)) << 52);
}

uint64_t splitmix64(uint64_t& state) {
  uint64_t z = state += 0x9e3779b97f4a7c15U;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
  return z ^ (z >> 31);
}

/// xoshiro256** (Blackman and Vigna 2018), as a number in [0, 1).
double next_uniform(uint64_t (&s)[4]) {
  const uint64_t result = std::rotl(s[1] * 5, 7) * 9, t = s[1] << 17;
  s[2] ^= s[0];
  s[3] ^= s[1];
  s[1] ^= s[2];
  s[0] ^= s[3];
  s[2] ^= t;
  s[3] = std::rotl(s[3], 45);
  return static_cast<double>(result >> 11) * 0x1p-53;
}

using Candidates = std::vector<std::pair<float, int32_t>>;

bool better(const std::pair<float, int32_t>& a, const std::pair<float, int32_t>& b) {
  return a.first != b.first ? a.first > b.first : a.second < b.second;
}

/// Candidates after the best `sorted` are in no order yet; makes it at least `want`.
void sort_more(Candidates& c, size_t& sorted, size_t want) {
  want = std::min(want, c.size());
  if (want <= sorted) return;
  const auto begin = c.begin() + static_cast<int64_t>(sorted), end = c.begin() + static_cast<int64_t>(want);
  std::partial_sort(begin, end, c.end(), better);
  sorted = want;
}

/// The fewest best candidates that together have probability `p`.
void keep_top_p(Candidates& c, size_t& sorted, float p, float best) {
  double total = 0, sum = 0;
  for (const auto& [logit, id] : c) total += exp_below_zero(double{logit} - best);
  for (size_t i = 0; i < c.size(); ++i) {
    if (i == sorted) sort_more(c, sorted, std::max<size_t>(64, 4 * sorted));
    sum += exp_below_zero(double{c[i].first} - best);
    if (sum >= double{p} * total) {
      c.resize(i + 1);
      sorted = std::min(sorted, c.size());
      return;
    }
  }
}

}  // namespace

Sampler::Sampler(const SamplingOptions& options) : options_(options), state_{} {
  uint64_t seed = options.seed;
  for (uint64_t& word : state_) word = splitmix64(seed);
  if (!(options_.repetition_penalty > 0) || !std::isfinite(options_.repetition_penalty))
    options_.repetition_penalty = 1.0F;
}

void Sampler::accept(int32_t token) {
  if (options_.penalty_window <= 0 || options_.repetition_penalty == 1.0F) return;
  const auto window = static_cast<size_t>(options_.penalty_window);
  if (recent_.size() >= window)
    recent_.erase(recent_.begin(), recent_.end() - static_cast<int64_t>(window - 1));
  recent_.push_back(token);
}

int32_t Sampler::sample(std::span<const float> logits) {
  Candidates& c = candidates_;
  c.clear();
  c.reserve(logits.size());
  // Each recent token is penalised once, however often it occurred.
  std::vector<int32_t> recent = recent_;
  std::sort(recent.begin(), recent.end());
  for (size_t i = 0; i < logits.size(); ++i) {
    float l = logits[i];
    if (std::binary_search(recent.begin(), recent.end(), static_cast<int32_t>(i)))
      l = l > 0 ? l / options_.repetition_penalty : l * options_.repetition_penalty;
    if (!std::isnan(l) && l != -std::numeric_limits<float>::infinity())
      c.emplace_back(l, static_cast<int32_t>(i));
  }
  if (c.empty()) return -1;
  const auto best = *std::min_element(c.begin(), c.end(), better);
  const bool greedy = !(options_.temperature > 0) || options_.top_k == 1 || !(options_.top_p > 0);
  if (greedy || std::isinf(best.first)) return best.second;

  size_t sorted = 0;
  if (options_.top_k > 0 && static_cast<size_t>(options_.top_k) < c.size()) {
    sort_more(c, sorted, static_cast<size_t>(options_.top_k));
    c.resize(sorted);
  }
  if (options_.top_p < 1.0F) keep_top_p(c, sorted, options_.top_p, best.first);
  if (options_.min_p > 0) {
    std::erase_if(c, [&](const auto& x) {
      return x.first < best.first && exp_below_zero(double{x.first} - best.first) < double{options_.min_p};
    });
  }
  double total = 0;
  const auto weight = [&](const auto& x) {
    return exp_below_zero((double{x.first} - best.first) / options_.temperature);
  };
  for (const auto& x : c) total += weight(x);
  double left = next_uniform(state_) * total;
  for (const auto& x : c) {
    left -= weight(x);
    if (left < 0) return x.second;
  }
  return best.second;
}

}  // namespace lissom
