#pragma once
// f16 d, f16 dmin, 8 × (6-bit scale, 6-bit minimum), 128 bytes of nibbles, 64 weights to each 32 bytes.
#include "kernels/blocks/block.h"

namespace lissom::kernels {

struct Q4_K {
  static constexpr const char* kName = "Q4_K";
  static constexpr int kWeights = 256, kBytes = 144, kBits = 4, kZeroShift = -1, kSub = 32;
  static constexpr bool kOffset = true, kSuper = true;
  static constexpr const uint8_t* kTable = nullptr;
  static void unpack(const uint8_t* p, UnpackedBlock& out) {
    out.d = blocks::half_at(p);
    out.m = blocks::half_at(p + 2);
    blocks::scales_and_minima(p + 4, out);
    blocks::nibbles_of_64(p + 16, out.codes);
  }
};

}  // namespace lissom::kernels
