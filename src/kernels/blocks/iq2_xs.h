#pragma once
// Six levels in panels of 3-bit codes: ±8, ±25, ±43.
#include "kernels/blocks/codebook.h"

namespace lissom::kernels {

struct IQ2_XS {
  static constexpr const char* kName = "IQ2_XS";
  static constexpr int kWeights = 256, kBytes = 74, kBits = 3, kZeroShift = 7, kSub = 16;
  static constexpr bool kOffset = false, kSuper = true;
  static constexpr float kFactor = 0.125F;
  static constexpr const uint8_t* kTable = blocks::kIq2Values;
  static void unpack(const uint8_t* p, UnpackedBlock& out) {
    blocks::unpack_codebook<IQ2_XS>(iq2_xs_codec(), p, out);
  }
};

}  // namespace lissom::kernels
