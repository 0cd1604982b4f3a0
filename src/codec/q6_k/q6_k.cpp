#include "codec/q6_k/q6_k.h"

#include "codec/builtin.h"
#include "codec/grid.h"

namespace lissom {
namespace {

struct Layout {
  using Block = BlockQ6K;
  static constexpr std::string_view kName = "Q6_K";
  static constexpr ErrorInterval kInterval = {0.016, 0.0185};
  static constexpr GridSpec kSpec = {.kind = GridKind::sub_scale,
                                     .block = 256,
                                     .sub = 16,
                                     .low = -32,
                                     .high = 31,
                                     .scale_low = -128,
                                     .scale_high = 127,
                                     .min_high = 0,
                                     .levels = nullptr,
                                     .max_level = 32};

  static void get_params(const Block& block, GridParams& params) {
    params.d = block.d;
    std::memcpy(params.scale, block.scales, sizeof block.scales);
  }
  static void set_params(const GridParams& params, Block& block) {
    block.d = params.d;
    std::memcpy(block.scales, params.scale, sizeof block.scales);
  }
  static void get_codes(const Block& block, int8_t* codes) {
    for (int i = 0; i < 64; ++i) {
      int8_t* c = codes + i / 32 * 128 + i % 32;
      const uint8_t* low = block.ql + i / 32 * 64 + i % 32;
      const int high = block.qh[i];
      c[0] = static_cast<int8_t>(((low[0] & 15) | ((high & 3) << 4)) - 32);
      c[32] = static_cast<int8_t>(((low[32] & 15) | (((high >> 2) & 3) << 4)) - 32);
      c[64] = static_cast<int8_t>(((low[0] >> 4) | (((high >> 4) & 3) << 4)) - 32);
      c[96] = static_cast<int8_t>(((low[32] >> 4) | ((high >> 6) << 4)) - 32);
    }
  }
  static void set_codes(const int8_t* codes, Block& block) {
    for (int i = 0; i < 64; ++i) {
      const int8_t* c = codes + i / 32 * 128 + i % 32;
      uint8_t* low = block.ql + i / 32 * 64 + i % 32;
      const int q0 = c[0] + 32, q1 = c[32] + 32, q2 = c[64] + 32, q3 = c[96] + 32;
      low[0] = static_cast<uint8_t>((q0 & 15) | ((q2 & 15) << 4));
      low[32] = static_cast<uint8_t>((q1 & 15) | ((q3 & 15) << 4));
      block.qh[i] = static_cast<uint8_t>((q0 >> 4) | ((q1 >> 4) << 2) | ((q2 >> 4) << 4) | ((q3 >> 4) << 6));
    }
  }
};

}  // namespace

const BlockCodec& q6_k_codec() {
  static const GridCodecOf<Layout> codec;
  return codec;
}

}  // namespace lissom
