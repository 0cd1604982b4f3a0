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
    for (int i = 0; i < 4; ++i) blocks::fields(p + i / 2 * 64, 64, 4 * (i % 2), 4, out.codes + 64 * i);
    for (int i = 0; i < 8; ++i)
      blocks::add_fields(p + 128 + i / 4 * 32, 32, 2 * (i % 4), 2, 4, out.codes + 32 * i);
  }
};

}  // namespace lissom::kernels
