#pragma once
// f16 d, 32 int8.
#include "kernels/blocks/block.h"

namespace lissom::kernels {

struct Q8_0 {
  static constexpr const char* kName = "Q8_0";
  static constexpr int kWeights = 32, kBytes = 34, kBits = 8, kZeroShift = 7, kSub = 32;
  static constexpr bool kOffset = false, kSuper = false;
  static constexpr const uint8_t* kTable = nullptr;
  static void unpack(const uint8_t* p, UnpackedBlock& out) {
    out.d = blocks::half_at(p);
    for (int i = 0; i < 32; ++i) out.codes[i] = p[2 + i] ^ 0x80;
  }
};

}  // namespace lissom::kernels
