#include "eval/rows.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace lissom {
namespace {

#define LISSOM_INLINE inline __attribute__((always_inline))

// 16 lanes on every target: the compiler splits them where registers are narrower, so that sums are formed in
// the same order everywhere.
constexpr int64_t kLanes = 16;
using Floats = float __attribute__((vector_size(64)));
using Ints = int32_t __attribute__((vector_size(64)));
// Partial sums stay in float for one block, 64 additions, then go to double.
constexpr int64_t kBlock = 64 * kLanes;

LISSOM_INLINE Floats load(const float* p) {
  Floats v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

/// e^x for x ≤ 0, relative error below 1.5e-7; e^-87 stands for everything smaller. NaN stays NaN.
LISSOM_INLINE Floats exp_of(Floats x) {
  const Floats low = Floats{} - 87.0F;
  x = x < low ? low : x;
  // Adding 1.5·2^23 rounds to an integer and leaves it in the low bits of the sum.
  const Floats magic = Floats{} + 12582912.0F;
  const Floats shifted = x * 1.44269504088896341F + magic;
  const Floats k = shifted - magic;
  const Floats r = (x - k * 0.693359375F) - k * -2.12194440e-4F;
  Floats p = Floats{} + 1.9875691500e-4F;
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = p * (r * r) + r + 1.0F;
  Ints bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits = (bits << 23) + (127 << 23);
  Floats scale;
  std::memcpy(&scale, &bits, sizeof scale);
  return p * scale;
}

LISSOM_INLINE float max_of_row(const float* x, int64_t n) {
  float best = x[0];
  int64_t i = 0;
  if (n >= kLanes) {
    Floats top = load(x);
    for (i = kLanes; i + kLanes <= n; i += kLanes) {
      const Floats v = load(x + i);
      top = v > top ? v : top;
    }
    for (int64_t lane = 0; lane < kLanes; ++lane) best = std::max(best, top[lane]);
  }
  for (; i < n; ++i) best = std::max(best, x[i]);
  return best;
}

struct Sums {
  double model[kLanes] = {}, base[kLanes] = {}, moved[kLanes] = {};
};

LISSOM_INLINE void add_lanes(const Floats& v, double* sums) {
  for (int64_t lane = 0; lane < kLanes; ++lane) sums[lane] += static_cast<double>(v[lane]);
}

/// Σ e^(model - max), and with a base Σ e^(base - max) and Σ e^(base - max)·(base - model).
template <bool with_base>
LISSOM_INLINE void sum_row(const float* model, const float* base, int64_t n, float max, float max_base,
                           Sums& sums) {
  for (int64_t start = 0; start < n; start += kBlock) {
    const int64_t end = std::min(n, start + kBlock);
    Floats s{}, s_base{}, moved{};
    for (int64_t i = start; i < end; i += kLanes) {
      Floats m, b{};
      if (i + kLanes <= end) {
        m = load(model + i);
        if constexpr (with_base) b = load(base + i);
      } else {
        // Past the end: a probability of nothing in both.
        m = Floats{} + (max - 200.0F);
        b = Floats{} + (max - 200.0F);
        if constexpr (with_base) b = Floats{} + (max_base - 200.0F);
        std::memcpy(&m, model + i, static_cast<size_t>(end - i) * sizeof(float));
        if constexpr (with_base) std::memcpy(&b, base + i, static_cast<size_t>(end - i) * sizeof(float));
      }
      s += exp_of(m - max);
      if constexpr (with_base) {
        const Floats e = exp_of(b - max_base);
        s_base += e;
        moved += e * (b - m);
      }
    }
    add_lanes(s, sums.model);
    if constexpr (with_base) {
      add_lanes(s_base, sums.base);
      add_lanes(moved, sums.moved);
    }
  }
}

double total(const double* lanes) {
  double sum = 0;
  for (int64_t lane = 0; lane < kLanes; ++lane) sum += lanes[lane];
  return sum;
}

template <bool with_base>
LISSOM_INLINE RowScore score(const float* model, const float* base, int64_t n, int32_t token) {
  RowScore score;
  const float max = max_of_row(model, n), max_base = with_base ? max_of_row(base, n) : 0.0F;
  Sums sums;
  sum_row<with_base>(model, base, n, max, max_base, sums);
  const double sum = total(sums.model);
  const double log_sum = static_cast<double>(max) + std::log(sum);
  score.finite = std::isfinite(log_sum);
  score.nll = log_sum - static_cast<double>(model[token]);
  score.top = static_cast<int32_t>(std::find(model, model + n, max) - model);
  if constexpr (with_base) {
    const double sum_base = total(sums.base);
    const double log_sum_base = static_cast<double>(max_base) + std::log(sum_base);
    score.nll_base = log_sum_base - static_cast<double>(base[token]);
    score.top_base = static_cast<int32_t>(std::find(base, base + n, max_base) - base);
    // The differences base - model are nearly always exact in float, so two equal rows give 0 and two close
    // rows keep their digits; differences of log-probabilities would not.
    score.kld = std::max(0.0, total(sums.moved) / sum_base - (log_sum_base - log_sum));
    score.finite = score.finite && std::isfinite(log_sum_base) && std::isfinite(total(sums.moved));
  }
  return score;
}

#if defined(__x86_64__)
template <bool with_base>
__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq"))) RowScore score_avx512(const float* model,
                                                                                    const float* base,
                                                                                    int64_t n, int32_t token) {
  return score<with_base>(model, base, n, token);
}
template <bool with_base>
__attribute__((target("avx2"))) RowScore score_avx2(const float* model, const float* base, int64_t n,
                                                    int32_t token) {
  return score<with_base>(model, base, n, token);
}
#endif

template <bool with_base>
RowScore dispatch([[maybe_unused]] Target target, const float* model, const float* base, int64_t n,
                  int32_t token) {
#if defined(__x86_64__)
  if (target == Target::avx512) return score_avx512<with_base>(model, base, n, token);
  if (target == Target::avx2) return score_avx2<with_base>(model, base, n, token);
#endif
  return score<with_base>(model, base, n, token);
}

}  // namespace

RowScore score_row(Target target, const float* logits, int64_t n, int32_t token) {
  return dispatch<false>(target, logits, nullptr, n, token);
}
RowScore score_rows(Target target, const float* logits, const float* base, int64_t n, int32_t token) {
  return dispatch<true>(target, logits, base, n, token);
}

}  // namespace lissom
