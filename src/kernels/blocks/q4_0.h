#pragma once
// f16 d, 16 bytes of nibbles.
#include "kernels/blocks/block.h"

namespace lissom::kernels {

struct Q4_0 {
  static constexpr const char* kName = "Q4_0";
  static constexpr int kWeights = 32, kBytes = 18, kBits = 4, kZeroShift = 3, kSub = 32;
  static constexpr bool kOffset = false, kSuper = false;
  static constexpr const uint8_t* kTable = nullptr;
  static void unpack(const uint8_t* p, UnpackedBlock& out) {
    out.d = blocks::half_at(p);
    blocks::nibbles(p + 2, out.codes);
  }
};

}  // namespace lissom::kernels
