#include "codec/q4_k/q4_k.h"

#include "codec/builtin.h"
#include "codec/grid.h"
#include "codec/k_scales.h"

namespace lissom {
namespace {

struct Layout {
  using Block = BlockQ4K;
  static constexpr std::string_view kName = "Q4_K";
  static constexpr ErrorInterval kInterval = {0.066, 0.075};
  static constexpr GridSpec kSpec = {.kind = GridKind::sub_scale_min,
                                     .block = 256,
                                     .sub = 32,
                                     .low = 0,
                                     .high = 15,
                                     .scale_low = 0,
                                     .scale_high = 63,
                                     .min_high = 63,
                                     .levels = nullptr,
                                     .max_level = 15};

  static void get_params(const Block& block, GridParams& params) {
    params.d = block.d;
    params.m = block.dmin;
    unpack_k_scales(block.scales, params.scale, params.min);
  }
  static void set_params(const GridParams& params, Block& block) {
    block.d = params.d;
    block.dmin = params.m;
    pack_k_scales(params.scale, params.min, block.scales);
  }
  static void get_codes(const Block& block, int8_t* codes) {
    for (int i = 0; i < 128; ++i) {
      int8_t* pair = codes + i / 32 * 64 + i % 32;
      pair[0] = static_cast<int8_t>(block.qs[i] & 15);
      pair[32] = static_cast<int8_t>(block.qs[i] >> 4);
    }
  }
  static void set_codes(const int8_t* codes, Block& block) {
    for (int i = 0; i < 128; ++i) {
      const int8_t* pair = codes + i / 32 * 64 + i % 32;
      block.qs[i] = static_cast<uint8_t>(pair[0] | (pair[32] << 4));
    }
  }
};

}  // namespace

const BlockCodec& q4_k_codec() {
  static const GridCodecOf<Layout> codec;
  return codec;
}

}  // namespace lissom
