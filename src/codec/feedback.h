#pragma once
// What a codec also is that rounds its columns one after the other, so that later ones can make up for what
// earlier ones lose. Codecs of blocks have that by their grids (lissom/codec.h) and need no more.

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "lissom/codec.h"

namespace lissom {

/// The inputs' second moments as H = A·D·Aᵀ, A upper triangular with a unit diagonal (LDLQ, arXiv 2307.13304):
/// rounding column j of w + Σ_{i<j} (w_i - ŵ_i)·A_ij instead of w_j makes the error of the outputs
/// Σ_j D_j · (what rounding lost of that)².
struct ColumnFeedback {
  const float* a = nullptr;  ///< row j begins at a + j · stride; nothing before its j + 1st value is read
  int64_t stride = 0;
  std::span<const float> d;  ///< cols values, > 0

  [[nodiscard]] int64_t cols() const { return static_cast<int64_t>(d.size()); }
  /// Adds what column `col` of a row lost, of its weight as it was given, to the targets of the later columns
  /// before `end`.
  void hand_on(int64_t col, float error, float* targets, int64_t end) const {
    const float* factors = a + col * stride;
    for (int64_t j = col + 1; j < end; ++j) targets[j] += error * factors[j];
  }
};

/// Rounds a row `w` in groups of columns that have parameters of their own. choose(first, n, targets) chooses
/// those of a group for n targets; round(col, target) rounds a column with them and returns ŵ. They are chosen
/// for the targets as they are when the group begins, and then for what rounding it so made of them.
template <class Choose, class Round>
void round_row(const ColumnFeedback& feedback, const float* w, int64_t group, const Choose& choose,
               const Round& round) {
  std::vector<float> targets(w, w + feedback.cols()), trial;
  for (int64_t first = 0; first < feedback.cols(); first += group) {
    const int64_t end = std::min(first + group, feedback.cols());
    choose(first, end - first, targets.data() + first);
    trial = targets;
    for (int64_t j = first; j < end; ++j)
      feedback.hand_on(j, w[j] - round(j, trial[static_cast<size_t>(j)]), trial.data(), end);
    choose(first, end - first, trial.data() + first);
    for (int64_t j = first; j < end; ++j)
      feedback.hand_on(j, w[j] - round(j, targets[static_cast<size_t>(j)]), targets.data(), feedback.cols());
  }
}

class FeedbackCodec {
 public:
  virtual ~FeedbackCodec() = default;
  /// Columns that are rounded at once, as points of a codebook.
  [[nodiscard]] virtual int feedback_width() const { return 1; }
  /// Codec::encode() with D as the columns' importance and with errors handed on.
  virtual void encode_fed(const Shape& shape, std::span<const float> weights, const ColumnFeedback& feedback,
                          std::span<const std::span<std::byte>> parts) const = 0;
};

}  // namespace lissom
