#pragma once
// 4 scales of 8 bits (half of an unsigned float with 4 exponent bits, as f16 in panels), for each 8 bytes of
// nibbles: four-bit floats.
#include "base/half.h"
#include "codec/nvfp4/nvfp4.h"
#include "kernels/blocks/block.h"

namespace lissom::kernels {

struct NVFP4 {
  static constexpr const char* kName = "NVFP4";
  static constexpr int kWeights = 64, kBytes = 36, kBits = 4, kZeroShift = 7, kSub = 16;
  static constexpr bool kOffset = false, kSuper = false;
  static constexpr const uint8_t* kTable = blocks::kE2m1Values;
  static void unpack(const uint8_t* p, UnpackedBlock& out) {
    for (int j = 0; j < 4; ++j) {
      out.sub_d[j] = float_to_half(ue4m3_half(p[j]));
      for (int i = 0; i < 8; ++i) {
        out.codes[16 * j + i] = p[4 + 8 * j + i] & 15;
        out.codes[16 * j + i + 8] = p[4 + 8 * j + i] >> 4;
      }
    }
  }
};

}  // namespace lissom::kernels
