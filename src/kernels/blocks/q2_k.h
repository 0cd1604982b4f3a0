#pragma once
// 16 × (4-bit scale, 4-bit minimum), 64 bytes of 2-bit codes, f16 d, f16 dmin.
#include "kernels/blocks/block.h"

namespace lissom::kernels {

struct Q2_K {
  static constexpr const char* kName = "Q2_K";
  static constexpr int kWeights = 256, kBytes = 84, kBits = 2, kZeroShift = -1, kSub = 16;
  static constexpr bool kOffset = true, kSuper = true;
  static constexpr const uint8_t* kTable = nullptr;
  static void unpack(const uint8_t* p, UnpackedBlock& out) {
    out.d = blocks::half_at(p + 80);
    out.m = blocks::half_at(p + 82);
    for (int i = 0; i < 16; ++i) {
      out.sub_scale[i] = static_cast<int8_t>(p[i] & 15);
      out.sub_min[i] = p[i] >> 4;
    }
    blocks::pairs_of_128(p + 16, out.codes);
  }
};

}  // namespace lissom::kernels
