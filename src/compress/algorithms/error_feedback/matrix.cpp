#include "compress/algorithms/error_feedback/matrix.h"

#include <algorithm>
#include <cstring>

#include "compress/algorithms/error_feedback/rounding.h"

namespace lissom {
namespace {

constexpr int64_t kGrain = int64_t{1} << 15;  // weights that a thread takes at a time
constexpr int kRaises = 8;                    // of a damping, tenfold each

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

}  // namespace

FeedbackMatrix feed_back(ThreadPool& pool, const BlockCodec& codec, int64_t rows,
                         std::span<const float> weights, std::span<const float> importance,
                         const InputMoments& moments, std::span<const double> dampings, int refinements) {
  const SquareMatrix& h = moments.fit;
  const int64_t n = h.n, blocks = n / codec.block_weights(), row_bytes = blocks * codec.block_bytes();
  FeedbackMatrix out;
  out.bytes.resize(static_cast<size_t>(rows * row_bytes));
  out.rows_of.assign(dampings.size() + 1, 0);
  pool.parallel_for(rows, std::max<int64_t>(1, kGrain / n), [&](int64_t first, int64_t last, int) {
    codec.encode_blocks(weights.data() + first * n, importance.empty() ? nullptr : importance.data(), blocks,
                        (last - first) * blocks, out.bytes.data() + first * row_bytes);
  });
  std::vector<double> best = judge_rows(pool, codec, rows, weights, moments.judge, out.bytes);
  std::vector<size_t> from(static_cast<size_t>(rows), 0);
  for (const double error : best) out.plain += error;
  const double mean = mean_of_diagonal(h);
  std::vector<std::byte> bytes(out.bytes.size());
  for (size_t i = 0; i < dampings.size() && mean > 0; ++i) {
    FeedbackMetric metric;
    double damping = dampings[i] * mean;
    bool sound = false;
    for (int raise = 0; raise < kRaises && !sound; ++raise, damping *= 10)
      sound = metric.prepare(pool, h, static_cast<float>(damping), codec.block_weights());
    if (!sound) continue;
    round_with_feedback(pool, codec, rows, weights.data(), metric, {.refinements = refinements}, bytes.data());
    const std::vector<double> errors = judge_rows(pool, codec, rows, weights, moments.judge, bytes);
    for (size_t r = 0; r < best.size(); ++r) {
      if (!(errors[r] < best[r])) continue;
      best[r] = errors[r];
      from[r] = i + 1;
      const auto at = r * static_cast<size_t>(row_bytes);
      std::memcpy(out.bytes.data() + at, bytes.data() + at, static_cast<size_t>(row_bytes));
    }
  }
  for (size_t r = 0; r < best.size(); ++r) {
    out.judged += best[r];
    ++out.rows_of[from[r]];
  }
  return out;
}

}  // namespace lissom
