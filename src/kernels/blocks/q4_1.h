#pragma once
// f16 d, f16 m, 16 bytes of nibbles.
#include "kernels/blocks/block.h"

namespace lissom::kernels {

struct Q4_1 {
  static constexpr const char* kName = "Q4_1";
  static constexpr int kWeights = 32, kBytes = 20, kBits = 4, kZeroShift = -1, kSub = 32;
  static constexpr bool kOffset = true, kSuper = false;
  static constexpr const uint8_t* kTable = nullptr;
  static void unpack(const uint8_t* p, UnpackedBlock& out) {
    out.d = blocks::half_at(p);
    out.m = blocks::half_at(p + 2);
    blocks::nibbles(p + 4, out.codes);
  }
};

}  // namespace lissom::kernels
