#pragma once
// Six levels in panels of 3-bit codes: ±1, ±7, ±9.
#include "kernels/blocks/codebook.h"

namespace lissom::kernels {

struct IQ1_M {
  static constexpr const char* kName = "IQ1_M";
  static constexpr int kWeights = 256, kBytes = 56, kBits = 3, kZeroShift = 7, kSub = 16;
  static constexpr bool kOffset = false, kSuper = true;
  static constexpr float kFactor = 0.125F;
  static constexpr const uint8_t* kTable = blocks::kIq1Values;
  static void unpack(const uint8_t* p, UnpackedBlock& out) {
    blocks::unpack_codebook<IQ1_M>(iq1_m_codec(), p, out);
  }
};

}  // namespace lissom::kernels
