#include "compress/algorithms/error_feedback/rounding.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <memory>

namespace lissom {
namespace {

/// Rows that a thread rounds at once: their errors lie side by side, so that one pass over the factor serves
/// all.
constexpr int64_t kRows = 2 * kTileRows;
/// A change of a block is taken where it lowers the error by more than the noise of its sum.
constexpr float kLeastGain = 1e-5F;
constexpr int64_t kMostWidth = 8;  // of a codebook's vector
constexpr int kVectorSteps = 6;    // of the descent within one

/// The metric of one block: errors e of it cost Σ_k d[k]·z[k]², z[k] = e[k] + Σ_{j<k} e[j]·a[j][k].
struct Local {
  const float* a;
  int64_t stride;
  const float* d;
  const float *metric, *diagonal, *bound;  ///< FeedbackMetric::Vectors from this block on
  /// Errors are counted from the weights that the block begins with, which the other blocks' errors are in;
  /// else from the target, and those that went before are in the beginning alone.
  bool from_begin;
};

/// Rounds some rows. Buffers are used again for the next ones.
class RowTile {
 public:
  RowTile(const BlockCodec& codec, const FeedbackMetric& metric, const RoundingOptions& options)
      : codec_(codec),
        metric_(metric),
        options_(options),
        n_(metric.h->n),
        block_(codec.block_weights()),
        width_(codec.round_width()),
        blocks_(n_ / block_),
        segment_(std::max(block_, kTileCols)),
        errors_(static_cast<size_t>(metric.h->stride * kRows)),
        codes_(static_cast<size_t>(n_ * kRows)),
        grids_(static_cast<size_t>(blocks_ * kRows)),
        work_(static_cast<size_t>(kRows * segment_)),
        begin_(static_cast<size_t>(kRows * block_)),
        rounded_(begin_.size()),
        latent_(static_cast<size_t>(n_ * kRows)),
        chosen_(kRows),
        best_(kRows),
        costs_(kRows) {
    trial_.resize(block_);
    for (Trial& t : best_) t.resize(block_);
  }

  /// start: the rows' bytes of another rounding, or null.
  void run(const float* target, int64_t rows, const std::byte* start, std::byte* out, float* latent) {
    target_ = target;
    rows_ = rows;
    std::fill(errors_.begin(), errors_.end(), 0.0F);
    std::fill(costs_.begin(), costs_.end(), 0.0);
    feed();
    if (start != nullptr) take_better(start);
    for (int pass = 0; pass < options_.refinements; ++pass) refine();
    const int64_t row_bytes = blocks_ * codec_.block_bytes();
    for (int64_t r = 0; r < rows_; ++r)
      for (int64_t b = 0; b < blocks_; ++b)
        codec_.pack(grid(r, b), codes_.data() + r * n_ + b * block_,
                    out + r * row_bytes + b * codec_.block_bytes());
    if (latent != nullptr) std::copy_n(latent_.data(), rows_ * n_, latent);
  }

 private:
  /// One way to round a block of a row.
  struct Trial {
    BlockGrid grid;
    float cost = 0;
    std::vector<int8_t> codes;
    std::vector<float> error, rounded;  ///< target - ŵ; the weights that were rounded
    void resize(int64_t n) {
      codes.resize(static_cast<size_t>(n));
      error.resize(static_cast<size_t>(n));
      rounded.resize(static_cast<size_t>(n));
    }
  };

  /// Puts rows of `start` in the place of those that cost more. Feedback into a sparse codebook can run away:
  /// weights that make up for much are far from every point.
  void take_better(const std::byte* start) {
    const SquareMatrix& h = *metric_.h;
    std::vector<float> fed = errors_, back(static_cast<size_t>(n_));
    for (int64_t r = 0; r < rows_; ++r) {
      codec_.decode_blocks(start + r * blocks_ * codec_.block_bytes(), blocks_, back.data());
      for (int64_t c = 0; c < n_; ++c) error(c, r) = target_[r * n_ + c] - back[static_cast<size_t>(c)];
    }
    double cost[kRows] = {};
    for (int64_t s = 0; s < n_; s += segment_) {
      const int64_t size = std::min(segment_, n_ - s);
      std::fill(work_.begin(), work_.end(), 0.0F);
      add_products(n_, h, s, size);
      for (int64_t r = 0; r < rows_; ++r)
        for (int64_t c = s; c < s + size; ++c) {
          const float e = error(c, r);
          cost[r] +=
              static_cast<double>(e) *
              static_cast<double>(work_[static_cast<size_t>(r * segment_ + c - s)] + metric_.damping * e);
        }
    }
    for (int64_t r = 0; r < rows_; ++r) {
      const bool better = cost[r] < costs_[static_cast<size_t>(r)];
      for (int64_t c = 0; c < n_ && !better; ++c) error(c, r) = fed[static_cast<size_t>(c * kRows + r)];
      if (better) std::copy_n(target_ + r * n_, n_, latent_.data() + r * n_);
      for (int64_t b = 0; b < blocks_ && better; ++b)
        codec_.unpack(start + (r * blocks_ + b) * codec_.block_bytes(), grid(r, b),
                      codes_.data() + r * n_ + b * block_);
    }
  }

  BlockGrid& grid(int64_t r, int64_t b) { return grids_[static_cast<size_t>(r * blocks_ + b)]; }
  float& error(int64_t column, int64_t r) { return errors_[static_cast<size_t>(column * kRows + r)]; }

  /// work_[r] += Σ_{j<k} e_j[r]·m[j] for the columns of a segment.
  void add_products(int64_t k, const SquareMatrix& m, int64_t first, int64_t size) {
    static const ProductTile tile = active_product_tile();
    for (int64_t r = 0; r < kRows; r += kTileRows)
      for (int64_t c = 0; c < size; c += kTileCols)
        tile(k, errors_.data() + r, kRows, m.values.data() + first + c, m.stride,
             work_.data() + r * segment_ + c, segment_);
  }

  /// Rounds `begin` (a block of compensated weights) on the grid of `t`, handing errors on within the block.
  /// `target`: the weights that errors are counted from.
  void round_block(const Local& local, const float* begin, const float* target, Trial& t) {
    float u[256], value[256];
    std::copy_n(begin, block_, u);
    t.cost = 0;
    for (int64_t k = 0; k < block_; k += width_) {
      std::copy_n(u + k, width_, t.rounded.data() + k);
      nearest(t.grid, k, u + k, local.diagonal + k, t.codes.data() + k, value + k);
      if (width_ > 1) improve(local, k, u + k, t, value + k);
      for (int64_t i = k; i < k + width_; ++i) {
        const float e = target[i] - value[i], z = u[i] - value[i];
        t.error[static_cast<size_t>(i)] = e;
        t.cost += local.d[i] * z * z;
        const float from = local.from_begin ? begin[i] - value[i] : e;
        const float* a = local.a + i * local.stride;
        for (int64_t m = i + 1; m < block_; ++m) u[m] += from * a[m];
      }
    }
  }

  void nearest(const BlockGrid& grid, int64_t k, const float* w, const float* importance, int8_t* codes,
               float* value) const {
    codec_.round(grid, static_cast<int>(k), static_cast<int>(width_), w, importance, codes);
    codec_.values(grid, static_cast<int>(k), static_cast<int>(width_), codes, value);
  }

  /// A codebook knows the nearest point by importance alone, not by a metric S that couples the weights of a
  /// vector: without that, feedback loses more than it gains. So the metric is bounded from above by a diagonal
  /// B at the point found, q: (u-x)·S·(u-x) ≤ (v-x)·B·(v-x) + const with v = q + B⁻¹·S·(u-q), and the nearest
  /// point to v is taken, as long as the error falls.
  void improve(const Local& local, int64_t k, const float* u, Trial& t, float* value) const {
    const float *metric = local.metric + k * width_, *bound = local.bound + k;
    float pull[kMostWidth], v[kMostWidth], other[kMostWidth];
    int8_t codes[kMostWidth];
    const auto cost_and_pull = [&](const float* q) {
      float cost = 0;
      for (int64_t i = 0; i < width_; ++i) {
        pull[i] = 0;
        for (int64_t j = 0; j < width_; ++j) pull[i] += metric[i * width_ + j] * (u[j] - q[j]);
        cost += (u[i] - q[i]) * pull[i];
      }
      return cost;
    };
    float cost = cost_and_pull(value);
    for (int step = 0; step < kVectorSteps; ++step) {
      for (int64_t i = 0; i < width_; ++i) v[i] = value[i] + pull[i] / bound[i];
      nearest(t.grid, k, v, bound, codes, other);
      const float moved = cost_and_pull(other);
      if (!(moved < cost * (1 - kLeastGain))) return;
      cost = moved;
      std::copy_n(other, width_, value);
      std::copy_n(codes, width_, t.codes.data() + k);
    }
  }

  /// Chooses parameters for begin_ of every row by `importance`, rounds, and keeps in best_ what costs less.
  void try_parameters(const Local& local, const float* from, const float* importance, int64_t block) {
    codec_.choose_blocks(from, importance, 1, rows_, chosen_.data());
    for (int64_t r = 0; r < rows_; ++r) {
      Trial &t = trial_, &best = best_[static_cast<size_t>(r)];
      t.grid = chosen_[static_cast<size_t>(r)];
      round_block(local, begin_.data() + r * block_, target_ + r * n_ + block * block_, t);
      if (t.cost < best.cost) std::swap(t, best);
    }
  }

  void search(const Local& local, int64_t block) {
    const float* diagonal = metric_.diagonal.data() + block * block_;
    try_parameters(local, begin_.data(), local.diagonal, block);
    if (options_.parameter_rounds > 1) try_parameters(local, begin_.data(), diagonal, block);
    for (int round = 1; round < options_.parameter_rounds; ++round) {
      for (int64_t r = 0; r < rows_; ++r)
        std::ranges::copy(best_[static_cast<size_t>(r)].rounded, rounded_.data() + r * block_);
      try_parameters(local, rounded_.data(), local.diagonal, block);
    }
  }

  [[nodiscard]] Local local_at(const float* a, int64_t stride, const float* d,
                               const FeedbackMetric::Vectors& vectors, int64_t c, bool from_begin) const {
    return {a,
            stride,
            d,
            vectors.metric.data() + c * width_,
            vectors.diagonal.data() + c,
            vectors.bound.data() + c,
            from_begin};
  }

  /// The block's part of work_, which ends in begin_.
  void take_begin(int64_t at) {
    for (int64_t r = 0; r < rows_; ++r)
      std::copy_n(work_.data() + r * segment_ + at, block_, begin_.data() + r * block_);
  }

  /// One pass from left to right, with the errors handed on.
  void feed() {
    const SquareMatrix& a = metric_.factor.a;
    for (int64_t s = 0; s < n_; s += segment_) {
      const int64_t size = std::min(segment_, n_ - s);
      std::fill(work_.begin(), work_.end(), 0.0F);
      for (int64_t r = 0; r < rows_; ++r) std::copy_n(target_ + r * n_ + s, size, work_.data() + r * segment_);
      add_products(s, a, s, size);
      for (int64_t c = s; c < s + size; c += block_) {
        take_begin(c - s);
        for (Trial& best : best_) best.cost = std::numeric_limits<float>::infinity();
        search(local_at(a.row(c) + c, a.stride, metric_.factor.d.data() + c, metric_.vectors, c, false),
               c / block_);
        for (int64_t r = 0; r < rows_; ++r) {
          adopt(r, c / block_);
          costs_[static_cast<size_t>(r)] += static_cast<double>(best_[static_cast<size_t>(r)].cost);
        }
        for (int64_t r = 0; r < rows_; ++r)
          for (int64_t j = c; j < c + block_ && c + block_ < s + size; ++j)
            for (int64_t m = c + block_; m < s + size; ++m)
              work_[static_cast<size_t>(r * segment_ + m - s)] += error(j, r) * a.row(j)[m];
      }
    }
  }

  void adopt(int64_t r, int64_t block) {
    Trial& best = best_[static_cast<size_t>(r)];
    grid(r, block) = best.grid;
    std::ranges::copy(best.codes, codes_.data() + r * n_ + block * block_);
    std::ranges::copy(best.rounded, latent_.data() + r * n_ + block * block_);
    for (int64_t k = 0; k < block_; ++k) error(block * block_ + k, r) = best.error[static_cast<size_t>(k)];
  }

  /// One pass over the blocks, each with all others as they are.
  void refine() {
    const SquareMatrix& h = *metric_.h;
    for (int64_t s = 0; s < n_; s += segment_) {
      const int64_t size = std::min(segment_, n_ - s);
      std::fill(work_.begin(), work_.end(), 0.0F);
      add_products(n_, h, s, size);  // the gradient of the error, without damping
      for (int64_t c = s; c < s + size; c += block_) refine_block(s, size, c);
    }
  }

  void refine_block(int64_t s, int64_t size, int64_t c) {
    const SquareMatrix& h = *metric_.h;
    const int64_t block = c / block_;
    const Local local = local_at(metric_.part_a.data() + block * block_ * block_, block_,
                                 metric_.part_d.data() + c, metric_.part_vectors, c, true);
    std::vector<float>& old = old_;
    old.resize(static_cast<size_t>(block_));
    for (int64_t r = 0; r < rows_; ++r) {
      float* begin = begin_.data() + r * block_;
      // What the others' errors ask of this block: (H_bb + damping·I)·x = Σ_other e·H.
      for (int64_t k = 0; k < block_; ++k) {
        old[static_cast<size_t>(k)] = error(c + k, r);
        begin[k] = work_[static_cast<size_t>(r * segment_ + c - s + k)];
      }
      for (int64_t j = 0; j < block_; ++j) {
        const float e = old[static_cast<size_t>(j)];
        const float* row = h.row(c + j) + c;
        for (int64_t k = 0; k < block_; ++k) begin[k] -= e * row[k];
      }
      solve(local, begin);
      const float* w = target_ + r * n_ + c;
      Trial& best = best_[static_cast<size_t>(r)];
      best.grid = grid(r, block);
      std::copy_n(codes_.data() + r * n_ + c, block_, best.codes.begin());
      std::copy_n(latent_.data() + r * n_ + c, block_, best.rounded.begin());
      std::copy_n(old.begin(), block_, best.error.begin());
      best.cost = cost_of(local, begin, old.data()) * (1 - kLeastGain);
      for (int64_t k = 0; k < block_; ++k) begin[k] += w[k];
      // The same parameters, rounded anew.
      Trial& t = trial_;
      t.grid = best.grid;
      round_block(local, begin, w, t);
      if (t.cost < best.cost) std::swap(t, best);
    }
    search(local, block);
    for (int64_t r = 0; r < rows_; ++r) {
      const Trial& best = best_[static_cast<size_t>(r)];
      float* work = work_.data() + r * segment_ - s;
      for (int64_t k = 0; k < block_ && c + block_ < s + size; ++k) {
        const float moved = best.error[static_cast<size_t>(k)] - error(c + k, r);
        if (moved == 0) continue;
        for (int64_t m = c + block_; m < s + size; ++m) work[m] += moved * h.row(c + k)[m];
      }
      adopt(r, block);
    }
  }

  /// x ← (A·D·Aᵀ)⁻¹·x
  void solve(const Local& local, float* x) const {
    for (int64_t k = block_ - 1; k >= 0; --k) {
      float sum = 0;
      const float* a = local.a + k * local.stride;
      for (int64_t m = k + 1; m < block_; ++m) sum += a[m] * x[m];
      x[k] -= sum;
    }
    for (int64_t k = 0; k < block_; ++k) x[k] /= local.d[k];
    for (int64_t j = 0; j < block_; ++j) {
      const float* a = local.a + j * local.stride;
      for (int64_t k = j + 1; k < block_; ++k) x[k] -= x[j] * a[k];
    }
  }

  /// What errors e cost where the others ask for x.
  [[nodiscard]] float cost_of(const Local& local, const float* x, const float* e) const {
    float z[256], cost = 0;
    for (int64_t k = 0; k < block_; ++k) z[k] = x[k] + e[k];
    for (int64_t j = 0; j < block_; ++j) {
      const float from = x[j] + e[j];
      const float* a = local.a + j * local.stride;
      for (int64_t k = j + 1; k < block_; ++k) z[k] += from * a[k];
    }
    for (int64_t k = 0; k < block_; ++k) cost += local.d[k] * z[k] * z[k];
    return cost;
  }

  const BlockCodec& codec_;
  const FeedbackMetric& metric_;
  const RoundingOptions& options_;
  int64_t n_, block_, width_, blocks_, segment_;
  std::vector<float> errors_;  ///< [column][row]
  std::vector<int8_t> codes_;
  std::vector<BlockGrid> grids_;
  std::vector<float> work_, begin_, rounded_, old_;
  std::vector<float> latent_;  ///< [row][column]: the compensated weights that codes_ were rounded from
  std::vector<BlockGrid> chosen_;
  Trial trial_;
  std::vector<Trial> best_;
  std::vector<double> costs_;  ///< of each row, after the pass with feedback
  const float* target_ = nullptr;
  int64_t rows_ = 0;
};

/// The vectors of some columns from their factor, of which column i's row begins at a + i·stride.
void fill_vectors(const float* a, int64_t stride, const float* d, int64_t columns, int64_t width, float* metric,
                  float* diagonal, float* bound) {
  for (int64_t g = 0; g < columns; g += width)
    for (int64_t i = 0; i < width; ++i) {
      bound[g + i] = 0;
      for (int64_t j = 0; j < width; ++j) {
        float sum = 0;
        for (int64_t k = std::max(i, j); k < width; ++k)
          sum += a[(g + i) * stride + g + k] * d[g + k] * a[(g + j) * stride + g + k];
        metric[(g + i) * width + j] = sum;
        bound[g + i] += std::fabs(sum);
        if (i == j) diagonal[g + i] = sum;
      }
    }
}

}  // namespace

bool FeedbackMetric::prepare(ThreadPool& pool, const SquareMatrix& hessian, float add,
                             const BlockCodec& codec) {
  h = &hessian;
  damping = add;
  const int64_t n = hessian.n, block = codec.block_weights(), blocks = n / block, width = codec.round_width();
  assert(width <= kMostWidth && block % width == 0);
  diagonal.resize(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) diagonal[static_cast<size_t>(i)] = hessian.row(i)[i] + add;
  if (!factorise(pool, hessian, add, factor)) return false;
  part_a.resize(static_cast<size_t>(n * block));
  part_d.resize(static_cast<size_t>(n));
  for (Vectors* v : {&vectors, &part_vectors}) {
    v->metric.resize(static_cast<size_t>(n * width));
    v->diagonal.resize(static_cast<size_t>(n));
    v->bound.resize(static_cast<size_t>(n));
  }
  std::vector<uint8_t> sound(static_cast<size_t>(blocks));
  pool.parallel_for(blocks, 1, [&](int64_t first, int64_t last, int) {
    for (int64_t c = first * block; c < last * block; c += block) {
      float *a = part_a.data() + c * block, *d = part_d.data() + c;
      const bool ok = factorise_part(hessian, add, c, block, a, d);
      sound[static_cast<size_t>(c / block)] = ok ? 1 : 0;
      if (!ok) continue;
      const auto fill = [&](const float* of, int64_t stride, const float* left, Vectors& v) {
        fill_vectors(of, stride, left, block, width, v.metric.data() + c * width, v.diagonal.data() + c,
                     v.bound.data() + c);
      };
      fill(a, block, d, part_vectors);
      fill(factor.a.row(c) + c, factor.a.stride, factor.d.data() + c, vectors);
    }
  });
  return std::ranges::count(sound, 0) == 0;
}

void round_with_feedback(ThreadPool& pool, const BlockCodec& codec, int64_t rows, const float* target,
                         const FeedbackMetric& metric, const RoundingOptions& options, const std::byte* start,
                         std::byte* out, float* latent) {
  const int64_t n = metric.h->n, row_bytes = n / codec.block_weights() * codec.block_bytes();
  const int64_t tiles = (rows + kRows - 1) / kRows;
  std::vector<std::unique_ptr<RowTile>> workers(static_cast<size_t>(pool.size()));
  pool.parallel_for(tiles, 1, [&](int64_t first, int64_t last, int worker) {
    auto& tile = workers[static_cast<size_t>(worker)];
    if (!tile) tile = std::make_unique<RowTile>(codec, metric, options);
    for (int64_t t = first; t < last; ++t)
      tile->run(target + t * kRows * n, std::min(kRows, rows - t * kRows),
                start != nullptr ? start + t * kRows * row_bytes : nullptr, out + t * kRows * row_bytes,
                latent != nullptr ? latent + t * kRows * n : nullptr);
  });
}

}  // namespace lissom
