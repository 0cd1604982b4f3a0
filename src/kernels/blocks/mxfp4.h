#pragma once
// A power of two in one byte (2^(e - 128), as bf16 in panels), 16 bytes of nibbles: four-bit floats.
#include "kernels/blocks/block.h"

namespace lissom::kernels {

struct MXFP4 {
  static constexpr const char* kName = "MXFP4";
  static constexpr int kWeights = 32, kBytes = 17, kBits = 4, kZeroShift = 7, kSub = 32;
  static constexpr bool kOffset = false, kSuper = false, kBf16 = true;
  static constexpr const uint8_t* kTable = blocks::kE2m1Values;
  static void unpack(const uint8_t* p, UnpackedBlock& out) {
    out.d = static_cast<uint16_t>(p[0] < 2 ? 0x20 << p[0] : (p[0] - 1) << 7);
    blocks::nibbles(p + 1, out.codes);
  }
};

}  // namespace lissom::kernels
