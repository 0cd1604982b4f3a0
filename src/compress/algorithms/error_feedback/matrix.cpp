#include "compress/algorithms/error_feedback/matrix.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "compress/algorithms/error_feedback/rounding.h"

namespace lissom {
namespace {

constexpr int64_t kGrain = int64_t{1} << 15;  // weights that a thread takes at a time
constexpr int kRaises = 8;                    // of a damping, tenfold each
constexpr int64_t kTrialRows = 48;            // that dampings are tried on

/// Each row's error on `judge`.
std::vector<double> judge_rows(ThreadPool& pool, const BlockCodec& codec, int64_t rows,
                               std::span<const float> weights, const SquareMatrix& judge,
                               const std::vector<std::byte>& bytes) {
  const int64_t n = judge.n, blocks = n / codec.block_weights();
  std::vector<float> error(weights.size());
  pool.parallel_for(rows, std::max<int64_t>(1, kGrain / n), [&](int64_t first, int64_t last, int) {
    codec.decode_blocks(bytes.data() + first * blocks * codec.block_bytes(), (last - first) * blocks,
                        error.data() + first * n);
    for (auto i = static_cast<size_t>(first * n); i < static_cast<size_t>(last * n); ++i)
      error[i] = weights[i] - error[i];
  });
  std::vector<double> out(static_cast<size_t>(rows));
  quadratic_forms(pool, judge, error.data(), rows, out.data());
  return out;
}

double mean_of_diagonal(const SquareMatrix& h) {
  double sum = 0;
  for (int64_t i = 0; i < h.n; ++i) sum += static_cast<double>(h.row(i)[i]);
  return h.n > 0 ? sum / static_cast<double>(h.n) : 0;
}

/// The metric with this damping, or one larger. 0: there is none.
double prepare(ThreadPool& pool, const SquareMatrix& h, double damping, const BlockCodec& codec,
               FeedbackMetric& metric) {
  for (int raise = 0; raise < kRaises; ++raise) {
    if (metric.prepare(pool, h, static_cast<float>(damping), codec)) return damping;
    damping *= 10;
  }
  return 0;
}

/// The damping that loses least on `judge` over every so many rows, without refinement.
double choose_damping(ThreadPool& pool, const BlockCodec& codec, int64_t rows, std::span<const float> weights,
                      const InputMoments& moments, const std::vector<std::byte>& searched,
                      std::span<const double> dampings, double unit) {
  const int64_t n = moments.fit.n, step = std::max<int64_t>(1, rows / kTrialRows);
  const auto row_bytes = static_cast<ptrdiff_t>(n / codec.block_weights() * codec.block_bytes());
  std::vector<float> some;
  std::vector<std::byte> plain;
  for (int64_t r = 0; r < rows; r += step) {
    some.insert(some.end(), weights.begin() + r * n, weights.begin() + (r + 1) * n);
    plain.insert(plain.end(), searched.begin() + r * row_bytes, searched.begin() + (r + 1) * row_bytes);
  }
  const auto count = static_cast<int64_t>(some.size()) / n;
  std::vector<std::byte> bytes(plain.size());
  double best = dampings.front(), least = std::numeric_limits<double>::infinity();
  for (const double damping : dampings) {
    FeedbackMetric metric;
    if (!metric.prepare(pool, moments.fit, static_cast<float>(damping * unit), codec)) continue;
    round_with_feedback(pool, codec, count, some.data(), metric, {.refinements = 0}, plain.data(),
                        bytes.data());
    double sum = 0;
    for (const double e : judge_rows(pool, codec, count, some, moments.judge, bytes)) sum += e;
    if (sum >= least) continue;
    least = sum;
    best = damping;
  }
  return best;
}

}  // namespace

FeedbackMatrix feed_back(ThreadPool& pool, const BlockCodec& codec, int64_t rows,
                         std::span<const float> weights, std::span<const float> importance,
                         const InputMoments& moments, std::span<const double> dampings, int refinements) {
  const SquareMatrix& h = moments.fit;
  const int64_t n = h.n, blocks = n / codec.block_weights(), row_bytes = blocks * codec.block_bytes();
  FeedbackMatrix out;
  out.bytes.resize(static_cast<size_t>(rows * row_bytes));
  pool.parallel_for(rows, std::max<int64_t>(1, kGrain / n), [&](int64_t first, int64_t last, int) {
    codec.encode_blocks(weights.data() + first * n, importance.empty() ? nullptr : importance.data(), blocks,
                        (last - first) * blocks, out.bytes.data() + first * row_bytes);
  });
  const std::vector<double> plain = judge_rows(pool, codec, rows, weights, moments.judge, out.bytes);
  for (const double error : plain) out.plain += error;
  out.judged = out.plain;
  out.searched_rows = rows;
  out.latents.assign(weights.begin(), weights.end());
  const double unit = moments.unit > 0 ? moments.unit : mean_of_diagonal(h);
  if (!(unit > 0) || dampings.empty()) return out;
  double damping = dampings.front();
  if (dampings.size() > 1)
    damping = choose_damping(pool, codec, rows, weights, moments, out.bytes, dampings, unit);
  FeedbackMetric metric;
  out.damping = prepare(pool, h, damping * unit, codec, metric) / unit;
  if (!(out.damping > 0)) return out;
  std::vector<std::byte> bytes(out.bytes.size());
  std::vector<float> latents(weights.size());
  round_with_feedback(pool, codec, rows, weights.data(), metric, {.refinements = refinements}, out.bytes.data(),
                      bytes.data(), latents.data());
  const std::vector<double> fed = judge_rows(pool, codec, rows, weights, moments.judge, bytes);
  out.judged = 0;
  for (size_t r = 0; r < fed.size(); ++r) {
    const bool better = fed[r] < plain[r];
    out.judged += better ? fed[r] : plain[r];
    if (!better) continue;
    --out.searched_rows;
    const auto at = r * static_cast<size_t>(row_bytes);
    std::memcpy(out.bytes.data() + at, bytes.data() + at, static_cast<size_t>(row_bytes));
    std::copy_n(latents.data() + r * static_cast<size_t>(n), n,
                out.latents.data() + r * static_cast<size_t>(n));
  }
  return out;
}

}  // namespace lissom
