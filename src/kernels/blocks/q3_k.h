#pragma once
// 32 bytes of third bits, 64 bytes of 2-bit codes, 16 6-bit scales in 12 bytes, f16 d.
#include "kernels/blocks/block.h"

namespace lissom::kernels {

struct Q3_K {
  static constexpr const char* kName = "Q3_K";
  static constexpr int kWeights = 256, kBytes = 110, kBits = 3, kZeroShift = 2, kSub = 16;
  static constexpr bool kOffset = false, kSuper = true;
  static constexpr const uint8_t* kTable = nullptr;
  static void unpack(const uint8_t* p, UnpackedBlock& out) {
    const uint8_t* s = p + 96;
    out.d = blocks::half_at(p + 108);
    for (int i = 0; i < 16; ++i) {
      const int low = i < 8 ? s[i] & 15 : s[i - 8] >> 4;
      const int high = s[8 + i % 4] >> (i / 4 * 2) & 3;
      out.sub_scale[i] = static_cast<int8_t>((low | high << 4) - 32);
    }
    for (int i = 0; i < 256; ++i) {
      const int low = p[32 + i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
      out.codes[i] = static_cast<uint8_t>(low | (p[i % 32] >> (i / 32) & 1) << 2);
    }
  }
};

}  // namespace lissom::kernels
