#pragma once
// Six levels in panels of 3-bit codes: ±8, ±25, ±43.
#include "kernels/blocks/codebook.h"

namespace lissom::kernels {

struct IQ2_XXS {
  static constexpr const char* kName = "IQ2_XXS";
  static constexpr int kWeights = 256, kBytes = 66, kBits = 3, kZeroShift = 7, kSub = 32;
  static constexpr bool kOffset = false, kSuper = true;
  static constexpr float kFactor = 0.125F;
  static constexpr const uint8_t* kTable = blocks::kIq2Values;
  static void unpack(const uint8_t* p, UnpackedBlock& out) {
    blocks::unpack_codebook<IQ2_XXS>(iq2_xxs_codec(), p, out);
  }
};

}  // namespace lissom::kernels
