#pragma once
// Codecs whose matrices are products of two small ones, which a kernel runs one after the other: W·x costs
// rank·(rows + cols) instead of rows·cols.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "lissom/codec.h"

namespace lissom {

/// W = left · diag(middle) · right, with the rank padded by zeros to what the factors' codec wants.
struct LowRankFactors {
  const Codec* codec = nullptr;  ///< of both factors, exactly
  std::vector<std::byte> right;  ///< rank × cols
  std::vector<std::byte> left;   ///< rows × rank
  std::vector<float> middle;     ///< rank
};

/// What a codec also is whose tensors are such products.
class LowRankCodec {
 public:
  virtual ~LowRankCodec() = default;
  [[nodiscard]] virtual const Codec& factor_codec() const = 0;
  /// Of the factors of a tensor of this shape.
  [[nodiscard]] virtual int64_t padded_rank(const Shape& shape) const = 0;
  [[nodiscard]] virtual LowRankFactors factors(const Shape& shape,
                                               std::span<const std::span<const std::byte>> parts) const = 0;
};

}  // namespace lissom
