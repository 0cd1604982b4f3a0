#pragma once
// Codecs that decode rows side by side faster than one after the other, as kernels take them.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "lissom/codec.h"

namespace lissom {

/// One tensor, with what its panels share made ready.
class PanelDecoder {
 public:
  static constexpr int64_t kLanes = 16;  ///< rows of a panel
  virtual ~PanelDecoder() = default;
  /// Rows first … first+count-1, 1 ≤ count ≤ kLanes: out[column·kLanes + i] is of row first+i, to the bit what
  /// the codec's decode_rows() gives. The other lanes of out are left as they are.
  virtual void decode(int64_t first, int64_t count, float* out) const = 0;
};

class PanelCodec {
 public:
  virtual ~PanelCodec() = default;
  /// Valid as long as the parts are.
  [[nodiscard]] virtual std::unique_ptr<PanelDecoder> panels(
      const Shape& shape, std::span<const std::span<const std::byte>> parts) const = 0;
};

}  // namespace lissom
