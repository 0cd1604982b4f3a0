#pragma once
// f16 d, f16 m, 32 fifth bits, 16 bytes of nibbles.
#include "kernels/blocks/block.h"

namespace lissom::kernels {

struct Q5_1 {
  static constexpr const char* kName = "Q5_1";
  static constexpr int kWeights = 32, kBytes = 24, kBits = 5, kZeroShift = -1, kSub = 32;
  static constexpr bool kOffset = true, kSuper = false;
  static constexpr const uint8_t* kTable = nullptr;
  static void unpack(const uint8_t* p, UnpackedBlock& out) {
    out.d = blocks::half_at(p);
    out.m = blocks::half_at(p + 2);
    blocks::nibbles(p + 8, out.codes);
    blocks::add_bits(p + 4, 4, out.codes);
  }
};

}  // namespace lissom::kernels
