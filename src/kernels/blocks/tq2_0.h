#pragma once
// 64 bytes of 2-bit codes of the levels -1, 0, 1, f16 d.
#include "kernels/blocks/block.h"

namespace lissom::kernels {

struct TQ2_0 {
  static constexpr const char* kName = "TQ2_0";
  static constexpr int kWeights = 256, kBytes = 66, kBits = 2, kZeroShift = 0, kSub = 32;
  static constexpr bool kOffset = false, kSuper = true;
  static constexpr const uint8_t* kTable = nullptr;
  static void unpack(const uint8_t* p, UnpackedBlock& out) {
    out.d = blocks::half_at(p + 64);
    std::memset(out.sub_scale, 1, sizeof out.sub_scale);
    blocks::pairs_of_128(p, out.codes);
  }
};

}  // namespace lissom::kernels
