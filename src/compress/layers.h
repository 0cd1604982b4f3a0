#pragma once
// Which layers a rule speaks of: "more_bits", "7", "0-3", "28-", "<4", "<n/8", ">=7n/8", and lists of these.

#include <cstdint>
#include <string_view>
#include <vector>

#include "lissom/result.h"

namespace lissom {

class LayerSelector {
 public:
  /// "" selects every layer, and tensors outside the layers too.
  [[nodiscard]] static Result<LayerSelector> parse(std::string_view text);
  /// layer: -1 for a tensor outside the transformer blocks, which only "" selects.
  [[nodiscard]] bool selects(int64_t layer, int64_t layers) const;

 private:
  struct Term {
    enum class Kind { more_bits, range, below, below_share, from_share } kind;
    int64_t a = 0, b = 0;
  };
  std::vector<Term> terms_;
};

/// The layer in "blk.12.attn_q.weight", or -1.
[[nodiscard]] int64_t layer_of(std::string_view tensor);

}  // namespace lissom
