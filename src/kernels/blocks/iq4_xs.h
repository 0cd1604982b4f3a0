#pragma once
// f16 d, 8 6-bit scales in 2 + 4 bytes, 128 bytes of nibbles into the table of IQ4_NL.
#include "kernels/blocks/block.h"

namespace lissom::kernels {

struct IQ4_XS {
  static constexpr const char* kName = "IQ4_XS";
  static constexpr int kWeights = 256, kBytes = 136, kBits = 4, kZeroShift = 7, kSub = 32;
  static constexpr bool kOffset = false, kSuper = true;
  static constexpr const uint8_t* kTable = blocks::kIq4Values;
  static void unpack(const uint8_t* p, UnpackedBlock& out) {
    const unsigned high = blocks::half_at(p + 2);
    out.d = blocks::half_at(p);
    for (int i = 0; i < 8; ++i) {
      const unsigned low = p[4 + i / 2] >> (i % 2 * 4) & 15U;
      out.sub_scale[i] = static_cast<int8_t>(static_cast<int>(low | (high >> (2 * i) & 3U) << 4) - 32);
      blocks::nibbles(p + 8 + 16 * i, out.codes + 32 * i);
    }
  }
};

}  // namespace lissom::kernels
