#include "compress/algorithms/error_feedback/tensor.h"

#include <algorithm>
#include <cmath>

#include "codec/feedback.h"
#include "compress/algorithms/error_feedback/error_feedback.h"
#include "compress/algorithms/error_feedback/factor.h"
#include "compress/algorithms/error_feedback/matrix.h"

namespace lissom {
namespace {

/// Added to H's diagonal, in units of its mean; measured (docs/benchmarks.md). What the vectors of a codebook
/// lose is too much for other columns to make up for.
constexpr double kDamping = 0.03, kVectorDamping = 0.3;
constexpr int kRaises = 8;  // of a damping, tenfold each
/// An attention sink's few inputs are a hundred thousand times the others, which it would drown.
constexpr float kMostOfMedian = 10;

double damping_of(int width) {
  return width > 1 ? kVectorDamping : kDamping;
}

/// The mean of the diagonal, no entry of which counts for more than kMostOfMedian medians.
double unit_of(const SquareMatrix& h) {
  std::vector<float> diagonal(static_cast<size_t>(h.n));
  for (int64_t i = 0; i < h.n; ++i) diagonal[static_cast<size_t>(i)] = h.row(i)[i];
  const auto middle = diagonal.begin() + static_cast<ptrdiff_t>(diagonal.size() / 2);
  std::ranges::nth_element(diagonal, middle);
  const float most = *middle > 0 ? kMostOfMedian * *middle : HUGE_VALF;
  double sum = 0;
  for (const float v : diagonal) sum += static_cast<double>(std::min(v, most));
  return sum / static_cast<double>(h.n);
}

bool encode_columns(ThreadPool& pool, const Codec& codec, const Shape& shape, std::span<const float> weights,
                    const InputMoments& moments, std::vector<std::vector<std::byte>>& parts) {
  const auto& fed = dynamic_cast<const FeedbackCodec&>(codec);
  Factor factor;
  double damping = damping_of(fed.feedback_width());
  for (int raise = 0; !factorise(pool, moments.fit, static_cast<float>(damping * moments.unit), factor);
       ++raise) {
    if (raise == kRaises) return false;
    damping *= 10;
  }
  parts.clear();
  for (const Component& part : codec.components(shape)) parts.emplace_back(part.bytes);
  const std::vector<std::span<std::byte>> views(parts.begin(), parts.end());
  fed.encode_fed(shape, weights, {factor.a.values.data(), factor.a.stride, factor.d}, views);
  return true;
}

}  // namespace

bool takes_feedback(const PlanEntry& entry) {
  const bool copied = entry.kept || entry.from == entry.codec;
  return is_fed_back(entry) ||
         (!copied && dynamic_cast<const FeedbackCodec*>(find_codec(entry.codec)) != nullptr);
}

bool encode_with_feedback(const PlanEntry& entry, std::span<const float> weights,
                          std::span<const float> importance, std::span<const float> hessian,
                          std::vector<std::vector<std::byte>>& parts) {
  const int64_t n = entry.shape.cols();
  if (n == 0 || hessian.size() != static_cast<size_t>(n * n)) return false;
  InputMoments moments{SquareMatrix(n), SquareMatrix()};
  for (int64_t i = 0; i < n; ++i) std::copy_n(hessian.data() + i * n, n, moments.fit.row(i));
  moments.unit = unit_of(moments.fit);
  if (!(moments.unit > 0) || !std::isfinite(moments.unit)) return false;
  ThreadPool pool(1);  // tensors are encoded side by side
  const Codec& codec = *find_codec(entry.codec);
  const BlockCodec* blocks = find_block_codec(entry.codec);
  if (blocks == nullptr) return encode_columns(pool, codec, entry.shape, weights, moments, parts);
  moments.judge = moments.fit;
  const double damping = damping_of(blocks->round_width());
  parts.assign(1, feed_back(pool, *blocks, entry.shape.rows(), weights, importance, moments, {},
                            std::span(&damping, 1), 1)
                      .bytes);
  return true;
}

}  // namespace lissom
