#include "runtime/relative.h"

#include <algorithm>
#include <cmath>

namespace lissom::runtime {
namespace {

/// rows × (heads·head_dim) → [head][head_dim][rows].
std::vector<float> by_head(const float* x, int64_t rows, int64_t heads, int64_t head_dim) {
  std::vector<float> out(static_cast<size_t>(rows * heads * head_dim));
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < heads * head_dim; ++c)
      out[static_cast<size_t>(c * rows + r)] = x[r * heads * head_dim + c];
  return out;
}

/// out[j] += Σ_d x[d]·columns[d][j]
void add_dots(const float* x, int64_t dims, const float* columns, int64_t n, float* out) {
  for (int64_t d = 0; d < dims; ++d) {
    const float value = x[d];
    const float* column = columns + d * n;
    for (int64_t j = 0; j < n; ++j) out[j] += value * column[j];
  }
}

/// One head of one sequence.
struct Head {
  const RelativeAttentionOp& op;
  int64_t n, stride, spans;           ///< rows of the sequence, floats of a row, 2·buckets
  const float *q, *v;                 ///< of the head's first feature in the first row
  const float *keys, *pos_q, *pos_k;  ///< [head_dim][n], [head_dim][spans]
  const float* k;
  float* out;
  std::span<const int64_t> bucket;  ///< of distance d at d + n - 1

  void run() const {
    const float scale = 1.0F / std::sqrt(3.0F * static_cast<float>(op.head_dim));
    // k_j against every bucket's query; a query's own row against every bucket's key.
    std::vector<float> of_keys(static_cast<size_t>(n * spans)), of_query(static_cast<size_t>(spans));
    for (int64_t j = 0; j < n; ++j)
      add_dots(k + j * stride, op.head_dim, pos_q, spans, of_keys.data() + j * spans);
    std::vector<float> score(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; ++i) {
      std::ranges::fill(score, 0.0F);
      std::ranges::fill(of_query, 0.0F);
      add_dots(q + i * stride, op.head_dim, keys, n, score.data());
      add_dots(q + i * stride, op.head_dim, pos_k, spans, of_query.data());
      for (int64_t j = 0; j < n; ++j) {
        const int64_t b = bucket[static_cast<size_t>(i - j + n - 1)];
        float& s = score[static_cast<size_t>(j)];
        s = (s + of_query[static_cast<size_t>(b)] + of_keys[static_cast<size_t>(j * spans + b)]) * scale;
      }
      weigh(score, out + i * stride);
    }
  }
  void weigh(std::vector<float>& score, float* to) const {
    const float top = *std::ranges::max_element(score);
    float total = 0.0F;
    for (float& s : score) total += s = std::exp(s - top);
    std::fill_n(to, op.head_dim, 0.0F);
    for (int64_t j = 0; j < n; ++j) {
      const float weight = score[static_cast<size_t>(j)] / total;
      const float* from = v + j * stride;
      for (int64_t d = 0; d < op.head_dim; ++d) to[d] += weight * from[d];
    }
  }
};

}  // namespace

int64_t relative_bucket(int64_t distance, int64_t buckets, int64_t max_distance) {
  const int64_t mid = buckets / 2, size = std::abs(distance);
  int64_t bucket = distance;
  if (size > mid) {
    // In F32 as transformers has it: a ceiling is taken.
    const float ratio = std::log(static_cast<float>(size) / static_cast<float>(mid)) /
                        std::log(static_cast<float>(max_distance - 1) / static_cast<float>(mid));
    const auto log_bucket = static_cast<int64_t>(std::ceil(ratio * static_cast<float>(mid - 1))) + mid;
    bucket = distance < 0 ? -log_bucket : log_bucket;
  }
  return std::clamp<int64_t>(bucket + buckets, 0, 2 * buckets - 1);
}

const RelativeAttention::Projected& RelativeAttention::projected(const LoadedModel& model,
                                                                 const RelativeAttentionOp& op,
                                                                 ThreadPool& pool) {
  const auto [it, fresh] = projected_.try_emplace(&op);
  if (!fresh) return it->second;
  const RelativePositions& p = op.positions;
  const int64_t rows = 2 * p.buckets, width = op.heads * op.head_dim;
  const auto n = static_cast<size_t>(rows * width);
  std::vector<float> table(n), queries(n), keys(n);
  for (int64_t r = 0; r < rows; ++r)
    kernels::layer_norm(model.target_, model.vector(p.table) + r * width, model.vector(p.norm),
                        model.vector(p.bias), p.eps, width, table.data() + r * width);
  const kernels::MatmulTerm terms[] = {{model.matrix(op.q_weight), model.vector(op.q_bias), queries.data()},
                                       {model.matrix(op.k_weight), model.vector(op.k_bias), keys.data()}};
  kernels::matmul(model.target_, pool, terms, table.data(), rows, scratch_);
  it->second.queries = by_head(queries.data(), rows, op.heads, op.head_dim);
  it->second.keys = by_head(keys.data(), rows, op.heads, op.head_dim);
  return it->second;
}

void RelativeAttention::run(const LoadedModel& model, const RelativeAttentionOp& op,
                            std::span<const Segment> segments, const Values& values, ThreadPool& pool) {
  const Projected& table = projected(model, op, pool);
  const int64_t width = op.heads * op.head_dim, spans = 2 * op.positions.buckets;
  for (const Segment& s : segments) {
    std::vector<int64_t> bucket;
    for (int64_t d = 1 - s.count; d < s.count; ++d)
      bucket.push_back(relative_bucket(d, op.positions.buckets, op.positions.max_distance));
    const std::vector<float> keys = by_head(values.k + s.first * width, s.count, op.heads, op.head_dim);
    pool.parallel_for(op.heads, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t h = begin; h < end; ++h) {
        const int64_t at = s.first * width + h * op.head_dim, pos = h * op.head_dim * spans;
        Head{op,
             s.count,
             width,
             spans,
             values.q + at,
             values.v + at,
             keys.data() + h * op.head_dim * s.count,
             table.queries.data() + pos,
             table.keys.data() + pos,
             values.k + at,
             values.out + at,
             bucket}
            .run();
      }
    });
  }
}

}  // namespace lissom::runtime
