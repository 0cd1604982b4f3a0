#pragma once
// 128 bytes of low nibbles, 64 bytes of high 2 bits, 16 int8 scales, f16 d.
#include "kernels/blocks/block.h"

namespace lissom::kernels {

struct Q6_K {
  static constexpr const char* kName = "Q6_K";
  static constexpr int kWeights = 256, kBytes = 210, kBits = 6, kZeroShift = 5, kSub = 16;
  static constexpr bool kOffset = false, kSuper = true;
  static constexpr const uint8_t* kTable = nullptr;
  static void unpack(const uint8_t* p, UnpackedBlock& out) {
    out.d = blocks::half_at(p + 208);
    std::memcpy(out.sub_scale, p + 192, 16);
    for (int i = 0; i < 256; ++i) {
      const int low = p[i / 128 * 64 + i % 64] >> (i % 128 / 64 * 4) & 15;
      const int high = p[128 + i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
      out.codes[i] = static_cast<uint8_t>(low | high << 4);
    }
  }
};

}  // namespace lissom::kernels
