#pragma once
// f16 d, 32 fifth bits, 16 bytes of nibbles.
#include "kernels/blocks/block.h"

namespace lissom::kernels {

struct Q5_0 {
  static constexpr const char* kName = "Q5_0";
  static constexpr int kWeights = 32, kBytes = 22, kBits = 5, kZeroShift = 4, kSub = 32;
  static constexpr bool kOffset = false, kSuper = false;
  static constexpr const uint8_t* kTable = nullptr;
  static void unpack(const uint8_t* p, UnpackedBlock& out) {
    out.d = blocks::half_at(p);
    blocks::nibbles(p + 6, out.codes);
    blocks::add_bits(p + 2, 4, out.codes);
  }
};

}  // namespace lissom::kernels
