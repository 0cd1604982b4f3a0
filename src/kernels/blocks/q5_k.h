#pragma once
// As Q4_K, with 32 bytes of fifth bits before the nibbles.
#include "kernels/blocks/block.h"

namespace lissom::kernels {

struct Q5_K {
  static constexpr const char* kName = "Q5_K";
  static constexpr int kWeights = 256, kBytes = 176, kBits = 5, kZeroShift = -1, kSub = 32;
  static constexpr bool kOffset = true, kSuper = true;
  static constexpr const uint8_t* kTable = nullptr;
  static void unpack(const uint8_t* p, UnpackedBlock& out) {
    out.d = blocks::half_at(p);
    out.m = blocks::half_at(p + 2);
    blocks::scales_and_minima(p + 4, out);
    blocks::nibbles_of_64(p + 48, out.codes);
    for (int i = 0; i < 8; ++i) blocks::add_fields(p + 16, 32, i, 1, 4, out.codes + 32 * i);
  }
};

}  // namespace lissom::kernels
