#include "codec/iq4_xs/iq4_xs.h"

#include "codec/builtin.h"
#include "codec/grid.h"
#include "codec/iq4_nl/iq4_nl.h"

namespace lissom {
namespace {

struct Layout {
  using Block = BlockIQ4XS;
  static constexpr std::string_view kName = "IQ4_XS";
  static constexpr ErrorInterval kInterval = {0.069, 0.079};
  static constexpr GridSpec kSpec = {.kind = GridKind::sub_scale,
                                     .block = 256,
                                     .sub = 32,
                                     .low = 0,
                                     .high = 15,
                                     .scale_low = -32,
                                     .scale_high = 31,
                                     .min_high = 0,
                                     .levels = kIQ4Levels,
                                     .max_level = 127};

  static void get_params(const Block& block, GridParams& params) {
    params.d = block.d;
    for (int j = 0; j < 8; ++j) {
      const int low = (block.scales_l[j / 2] >> (4 * (j % 2))) & 15, high = (block.scales_h >> (2 * j)) & 3;
      params.scale[j] = static_cast<int8_t>((low | (high << 4)) - 32);
    }
  }
  static void set_params(const GridParams& params, Block& block) {
    block.d = params.d;
    unsigned high = 0;
    for (int j = 0; j < 8; j += 2) {
      const int a = params.scale[j] + 32, b = params.scale[j + 1] + 32;
      block.scales_l[j / 2] = static_cast<uint8_t>((a & 15) | ((b & 15) << 4));
      high |= static_cast<unsigned>(a >> 4) << (2 * j) | static_cast<unsigned>(b >> 4) << (2 * j + 2);
    }
    block.scales_h = static_cast<uint16_t>(high);
  }
  static void get_codes(const Block& block, int8_t* codes) {
    for (int i = 0; i < 128; ++i) {
      int8_t* sub = codes + i / 16 * 32 + i % 16;
      sub[0] = static_cast<int8_t>(block.qs[i] & 15);
      sub[16] = static_cast<int8_t>(block.qs[i] >> 4);
    }
  }
  static void set_codes(const int8_t* codes, Block& block) {
    for (int i = 0; i < 128; ++i) {
      const int8_t* sub = codes + i / 16 * 32 + i % 16;
      block.qs[i] = static_cast<uint8_t>(sub[0] | (sub[16] << 4));
    }
  }
};

}  // namespace

const BlockCodec& iq4_xs_codec() {
  static const GridCodecOf<Layout> codec;
  return codec;
}

}  // namespace lissom
