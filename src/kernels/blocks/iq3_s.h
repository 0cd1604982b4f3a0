#pragma once
// Sixteen levels in panels of 4-bit codes: the odd numbers.
#include "kernels/blocks/codebook.h"

namespace lissom::kernels {

struct IQ3_S {
  static constexpr const char* kName = "IQ3_S";
  static constexpr int kWeights = 256, kBytes = 110, kBits = 4, kZeroShift = 7, kSub = 32;
  static constexpr bool kOffset = false, kSuper = true;
  static constexpr float kFactor = 1.0F;
  static constexpr const uint8_t* kTable = blocks::kIq3SValues;
  static void unpack(const uint8_t* p, UnpackedBlock& out) {
    blocks::unpack_codebook<IQ3_S>(iq3_s_codec(), p, out);
  }
};

}  // namespace lissom::kernels
