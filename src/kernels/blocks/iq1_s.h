#pragma once
// Six levels in panels of 3-bit codes: ±1, ±7, ±9.
#include "kernels/blocks/codebook.h"

namespace lissom::kernels {

struct IQ1_S {
  static constexpr const char* kName = "IQ1_S";
  static constexpr int kWeights = 256, kBytes = 50, kBits = 3, kZeroShift = 7, kSub = 32;
  static constexpr bool kOffset = false, kSuper = true;
  static constexpr float kFactor = 0.125F;
  static constexpr const uint8_t* kTable = blocks::kIq1Values;
  static void unpack(const uint8_t* p, UnpackedBlock& out) {
    blocks::unpack_codebook<IQ1_S>(iq1_s_codec(), p, out);
  }
};

}  // namespace lissom::kernels
