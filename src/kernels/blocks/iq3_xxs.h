#pragma once
// Sixteen levels in panels of 4-bit codes.
#include "kernels/blocks/codebook.h"

namespace lissom::kernels {

struct IQ3_XXS {
  static constexpr const char* kName = "IQ3_XXS";
  static constexpr int kWeights = 256, kBytes = 98, kBits = 4, kZeroShift = 7, kSub = 32;
  static constexpr bool kOffset = false, kSuper = true;
  static constexpr float kFactor = 0.25F;
  static constexpr const uint8_t* kTable = blocks::kIq3XxsValues;
  static void unpack(const uint8_t* p, UnpackedBlock& out) {
    blocks::unpack_codebook<IQ3_XXS>(iq3_xxs_codec(), p, out);
  }
};

}  // namespace lissom::kernels
