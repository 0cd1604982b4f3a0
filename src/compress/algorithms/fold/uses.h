#pragma once
// Who makes and who reads the values and the weights of a graph.

#include <cstddef>
#include <string>
#include <vector>

#include "lissom/model.h"

namespace lissom {

/// Refers to the checkpoint, which must live as long.
class Uses {
 public:
  explicit Uses(const Checkpoint& checkpoint);
  /// The op that makes a value, or null.
  [[nodiscard]] const Op* maker(ValueId value) const;
  /// Indices of the ops that read it.
  [[nodiscard]] const std::vector<size_t>& readers(ValueId value) const {
    return readers_[static_cast<size_t>(value)];
  }
  /// Whether the checkpoint has this weight; false for -1.
  [[nodiscard]] bool present(WeightId weight) const;
  /// Why nothing can be folded into this weight: it is absent, used in several places, or quantized. Empty: it
  /// can.
  [[nodiscard]] std::string obstacle(WeightId weight) const;

 private:
  const Checkpoint& checkpoint_;
  std::vector<int64_t> makers_;  ///< by value; -1: none
  std::vector<std::vector<size_t>> readers_;
  std::vector<int> uses_;  ///< of each weight
};

}  // namespace lissom
