#include "codec/q5_k/q5_k.h"

#include "codec/builtin.h"
#include "codec/grid.h"
#include "codec/k_scales.h"

namespace lissom {
namespace {

struct Layout {
  using Block = BlockQ5K;
  static constexpr std::string_view kName = "Q5_K";
  static constexpr ErrorInterval kInterval = {0.033, 0.0375};
  static constexpr GridSpec kSpec = {.kind = GridKind::sub_scale_min,
                                     .block = 256,
                                     .sub = 32,
                                     .low = 0,
                                     .high = 31,
                                     .scale_low = 0,
                                     .scale_high = 63,
                                     .min_high = 63,
                                     .levels = nullptr,
                                     .max_level = 31};

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
      const int high = block.qh[i % 32] >> (i / 32 * 2);
      pair[0] = static_cast<int8_t>((block.qs[i] & 15) | ((high & 1) << 4));
      pair[32] = static_cast<int8_t>((block.qs[i] >> 4) | ((high & 2) << 3));
    }
  }
  static void set_codes(const int8_t* codes, Block& block) {
    std::memset(block.qh, 0, sizeof block.qh);
    for (int i = 0; i < 128; ++i) {
      const int8_t* pair = codes + i / 32 * 64 + i % 32;
      block.qs[i] = static_cast<uint8_t>((pair[0] & 15) | ((pair[32] & 15) << 4));
      const int high = (pair[0] >> 4) | ((pair[32] >> 4) << 1);
      block.qh[i % 32] = static_cast<uint8_t>(block.qh[i % 32] | (high << (i / 32 * 2)));
    }
  }
};

}  // namespace

const BlockCodec& q5_k_codec() {
  static const GridCodecOf<Layout> codec;
  return codec;
}

}  // namespace lissom
