#pragma once
// What a codec also is that knows more of its inputs than one importance for each column, or that chooses its
// own parameters by the weights.

#include <span>
#include <string>

#include "lissom/codec.h"

namespace lissom {

/// What is known of a tensor's inputs x: at most one of the two is not empty.
struct InputStatistics {
  std::span<const float> importance{};  ///< mean of x², one for each column
  std::span<const float> hessian{};     ///< Σ x·xᵀ, cols × cols, symmetric; its scale does not matter
};

class HessianCodec {
 public:
  virtual ~HessianCodec() = default;
  /// Codec::encode() with these statistics.
  virtual void encode_with(const Shape& shape, std::span<const float> weights,
                           const InputStatistics& statistics,
                           std::span<const std::span<std::byte>> parts) const = 0;
};

/// A codec in a scheme or a plan that stands for others: which one, the weights say.
class AdaptiveCodec {
 public:
  virtual ~AdaptiveCodec() = default;
  /// The name of the codec for this tensor, which is not adaptive and takes its shape. Weights are finite.
  [[nodiscard]] virtual std::string choose(const Shape& shape, std::span<const float> weights,
                                           const InputStatistics& statistics) const = 0;
};

}  // namespace lissom
