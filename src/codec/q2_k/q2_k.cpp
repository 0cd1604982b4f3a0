#include "codec/q2_k/q2_k.h"

#include "codec/builtin.h"
#include "codec/grid.h"

namespace lissom {
namespace {

struct Layout {
  using Block = BlockQ2K;
  static constexpr std::string_view kName = "Q2_K";
  static constexpr ErrorInterval kInterval = {0.24, 0.28};
  static constexpr GridSpec kSpec = {.kind = GridKind::sub_scale_min,
                                     .block = 256,
                                     .sub = 16,
                                     .low = 0,
                                     .high = 3,
                                     .scale_low = 0,
                                     .scale_high = 15,
                                     .min_high = 15,
                                     .levels = nullptr,
                                     .max_level = 3};

  static void get_params(const Block& block, GridParams& params) {
    params.d = block.d;
    params.m = block.dmin;
    for (int j = 0; j < 16; ++j) {
      params.scale[j] = static_cast<int8_t>(block.scales[j] & 15);
      params.min[j] = static_cast<int8_t>(block.scales[j] >> 4);
    }
  }
  static void set_params(const GridParams& params, Block& block) {
    block.d = params.d;
    block.dmin = params.m;
    for (int j = 0; j < 16; ++j) block.scales[j] = static_cast<uint8_t>(params.scale[j] | (params.min[j] << 4));
  }
  static void get_codes(const Block& block, int8_t* codes) {
    for (int i = 0; i < 256; ++i)
      codes[i] = static_cast<int8_t>((block.qs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2)) & 3);
  }
  static void set_codes(const int8_t* codes, Block& block) {
    for (int i = 0; i < 64; ++i) {
      const int8_t* c = codes + i / 32 * 128 + i % 32;
      block.qs[i] = static_cast<uint8_t>(c[0] | (c[32] << 2) | (c[64] << 4) | (c[96] << 6));
    }
  }
};

}  // namespace

const BlockCodec& q2_k_codec() {
  static const GridCodecOf<Layout> codec;
  return codec;
}

}  // namespace lissom
