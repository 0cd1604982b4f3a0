#pragma once
// 48 bytes of five and 4 bytes of four base-3 digits of the levels -1, 0, 1, f16 d. Panels are TQ2_0's.
#include "codec/tq1_0/tq1_0.h"
#include "kernels/blocks/tq2_0.h"

namespace lissom::kernels {

struct TQ1_0 : TQ2_0 {
  using Kernel = TQ2_0;
  static constexpr const char* kName = "TQ1_0";
  static constexpr int kBytes = 54;
  static void unpack(const uint8_t* p, UnpackedBlock& out) {
    out.d = blocks::half_at(p + 52);
    std::memset(out.sub_scale, 1, sizeof out.sub_scale);
    const auto digit = [p](int byte, int k) { return kTernaryDigits[p[byte]][static_cast<size_t>(k)]; };
    for (int i = 0; i < 160; ++i) out.codes[i] = digit(i % 32, i / 32);
    for (int i = 0; i < 80; ++i) out.codes[160 + i] = digit(32 + i % 16, i / 16);
    for (int i = 0; i < 16; ++i) out.codes[240 + i] = digit(48 + i % 4, i / 4);
  }
};

}  // namespace lissom::kernels
