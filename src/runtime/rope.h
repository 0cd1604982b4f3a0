#pragma once
// Cosines and sines of rotary position embeddings, kept per position.

#include <cstdint>
#include <vector>

#include "lissom/model.h"
#include "lissom/result.h"

namespace lissom::runtime {

/// The frequency of each pair, dim/2 values, scaled as transformers' modeling_rope_utils does it, and the
/// factor on cosine and sine (1 but for YaRN and longrope). `positions`: how many a sequence may hold, by which
/// longrope chooses its divisors.
struct RopeFrequencies {
  std::vector<float> inverse;
  float magnitude = 1.0F;
};
[[nodiscard]] Result<RopeFrequencies> rope_frequencies(const Rope& rope, int64_t positions = 0);

class RopeTable {
 public:
  explicit RopeTable(RopeFrequencies frequencies) : frequencies_(std::move(frequencies)) {}
  /// Makes the rows of all positions below `end`.
  void extend(int64_t end);
  [[nodiscard]] const float* cos(int64_t position) const { return table_.data() + position * 2 * pairs(); }
  [[nodiscard]] const float* sin(int64_t position) const { return cos(position) + pairs(); }

 private:
  [[nodiscard]] int64_t pairs() const { return static_cast<int64_t>(frequencies_.inverse.size()); }
  RopeFrequencies frequencies_;
  int64_t made_ = 0;
  std::vector<float> table_;  ///< [position][cos of every pair, sin of every pair]
};

}  // namespace lissom::runtime
