#pragma once
// f16 d, 16 bytes of nibbles into a table of 16 values.
#include "kernels/blocks/block.h"

namespace lissom::kernels {

struct IQ4_NL {
  static constexpr const char* kName = "IQ4_NL";
  static constexpr int kWeights = 32, kBytes = 18, kBits = 4, kZeroShift = 7, kSub = 32;
  static constexpr bool kOffset = false, kSuper = false;
  static constexpr const uint8_t* kTable = blocks::kIq4Values;
  static void unpack(const uint8_t* p, UnpackedBlock& out) {
    out.d = blocks::half_at(p);
    blocks::nibbles(p + 2, out.codes);
  }
};

}  // namespace lissom::kernels
