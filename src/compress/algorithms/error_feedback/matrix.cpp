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
constexpr int64_t kCoupledRows = 32;          // that are rounded before their errors are handed on
/// Added to G's diagonal, in units of its mean; measured (docs/benchmarks.md).
constexpr double kOutputDamping = 0.1;

/// What rounding some rows of n weights to `bytes` loses.
void put_errors(ThreadPool& pool, const BlockCodec& codec, int64_t rows, int64_t n, const float* weights,
                const std::byte* bytes, float* error) {
  const int64_t blocks = n / codec.block_weights();
  pool.parallel_for(rows, std::max<int64_t>(1, kGrain / n), [&](int64_t first, int64_t last, int) {
    codec.decode_blocks(bytes + first * blocks * codec.block_bytes(), (last - first) * blocks,
                        error + first * n);
    for (int64_t i = first * n; i < last * n; ++i) error[i] = weights[i] - error[i];
  });
}

/// Each row's error on `judge`.
std::vector<double> judge_rows(ThreadPool& pool, const BlockCodec& codec, int64_t rows,
                               std::span<const float> weights, const SquareMatrix& judge,
                               const std::vector<std::byte>& bytes) {
  std::vector<float> error(weights.size());
  put_errors(pool, codec, rows, judge.n, weights.data(), bytes.data(), error.data());
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

/// What errors of earlier rows ask of rows first … last-1: to[r] += Σ error[s]·A[s][r] over s < r and s <
/// before.
void add_coupled(ThreadPool& pool, const SquareMatrix& a, const float* error, int64_t n, int64_t before,
                 int64_t first, int64_t last, float* to) {
  pool.parallel_for(last - first, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = first + begin; r < first + end; ++r)
      for (int64_t s = 0; s < std::min(before, r); ++s) {
        const float by = a.row(s)[r];
        for (int64_t c = 0; c < n; ++c) to[r * n + c] += by * error[s * n + c];
      }
  });
}

/// tr(G·E·judge·Eᵀ), of the factor of G.
double judge_coupled(ThreadPool& pool, const BlockCodec& codec, const Factor& outputs,
                     std::span<const float> weights, const SquareMatrix& judge,
                     const std::vector<std::byte>& bytes) {
  const int64_t rows = outputs.a.n, n = judge.n;
  std::vector<float> error(weights.size());
  put_errors(pool, codec, rows, n, weights.data(), bytes.data(), error.data());
  std::vector<float> coupled = error;
  add_coupled(pool, outputs.a, error.data(), n, rows, 0, rows, coupled.data());
  std::vector<double> each(static_cast<size_t>(rows));
  quadratic_forms(pool, judge, coupled.data(), rows, each.data());
  double sum = 0;
  for (size_t r = 0; r < each.size(); ++r) sum += each[r] * double{outputs.d[r]};
  return sum;
}

/// round_with_feedback() of some rows after the others, each for what those before it ask of it.
void round_coupled(ThreadPool& pool, const BlockCodec& codec, const Factor& outputs,
                   std::span<const float> weights, const FeedbackMetric& metric, const RoundingOptions& options,
                   const std::byte* searched, std::byte* bytes, float* latents) {
  const int64_t rows = outputs.a.n, n = metric.h->n;
  const int64_t row_bytes = n / codec.block_weights() * codec.block_bytes();
  std::vector<float> target(weights.size()), error(weights.size());
  for (int64_t first = 0; first < rows; first += kCoupledRows) {
    const int64_t last = std::min(first + kCoupledRows, rows);
    // What all of these rows together would answer to the errors before, were nothing rounded; then added to
    // them.
    add_coupled(pool, outputs.a, error.data(), n, first, first, last, target.data());
    for (int64_t r = first; r < last; ++r)
      for (int64_t s = first; s < r; ++s) {
        const float by = outputs.a.row(s)[r];
        for (int64_t c = 0; c < n; ++c) target[r * n + c] -= by * target[s * n + c];
      }
    for (int64_t i = first * n; i < last * n; ++i) target[i] += weights[i];
    round_with_feedback(pool, codec, last - first, target.data() + first * n, metric, options,
                        searched + first * row_bytes, bytes + first * row_bytes, latents + first * n);
    put_errors(pool, codec, last - first, n, weights.data() + first * n, bytes + first * row_bytes,
               error.data() + first * n);
  }
}

/// The factor of G, damped; false where it is of no use.
bool factorise_outputs(ThreadPool& pool, std::span<const float> outputs, int64_t rows, Factor& factor) {
  if (outputs.size() != static_cast<size_t>(rows * rows)) return false;
  SquareMatrix g(rows);
  for (int64_t i = 0; i < rows; ++i) std::copy_n(outputs.data() + i * rows, rows, g.row(i));
  const double mean = mean_of_diagonal(g);
  return mean > 0 && factorise(pool, g, static_cast<float>(kOutputDamping * mean), factor);
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
                         const InputMoments& moments, std::span<const float> outputs,
                         std::span<const double> dampings, int refinements) {
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
  const RoundingOptions options{.refinements = refinements};
  if (Factor factor; factorise_outputs(pool, outputs, rows, factor)) {
    out.coupled = true;
    round_coupled(pool, codec, factor, weights, metric, options, out.bytes.data(), bytes.data(),
                  latents.data());
    out.plain = judge_coupled(pool, codec, factor, weights, moments.judge, out.bytes);
    out.judged = judge_coupled(pool, codec, factor, weights, moments.judge, bytes);
    if (out.judged < out.plain) {
      out.searched_rows = 0;
      out.bytes = std::move(bytes);
      out.latents = std::move(latents);
    } else {
      out.judged = out.plain;
    }
    return out;
  }
  round_with_feedback(pool, codec, rows, weights.data(), metric, options, out.bytes.data(), bytes.data(),
                      latents.data());
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
