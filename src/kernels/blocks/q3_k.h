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
    blocks::pairs_of_128(p + 32, out.codes);
    for (int i = 0; i < 8; ++i) blocks::add_fields(p, 32, i, 1, 2, out.codes + 32 * i);
  }
};

}  // namespace lissom::kernels
