#include "codec/mxfp4/mxfp4.h"

#include "codec/builtin.h"
#include "codec/grid.h"

namespace lissom {
namespace {

struct Layout {
  using Block = BlockMXFP4;
  static constexpr std::string_view kName = "MXFP4";
  static constexpr ErrorInterval kInterval = {0.106, 0.117};
  // Scales from 2^-126 to 2^15, which is more than the largest weight needs.
  static constexpr GridSpec kSpec = {.kind = GridKind::listed_scale,
                                     .block = 32,
                                     .sub = 32,
                                     .low = 0,
                                     .high = 15,
                                     .scale_low = 0,
                                     .scale_high = 143,
                                     .min_high = 0,
                                     .levels = kE2M1Levels,
                                     .max_level = 12,
                                     .scale_of = e8m0_half,
                                     .e2m1 = true};

  static void get_params(const Block& block, GridParams& params) {
    params.scale[0] = static_cast<int8_t>(block.e);
  }
  static void set_params(const GridParams& params, Block& block) {
    block.e = static_cast<uint8_t>(params.scale[0]);
  }
  static void get_codes(const Block& block, int8_t* codes) {
    for (int j = 0; j < 16; ++j) {
      codes[j] = static_cast<int8_t>(block.qs[j] & 15);
      codes[j + 16] = static_cast<int8_t>(block.qs[j] >> 4);
    }
  }
  static void set_codes(const int8_t* codes, Block& block) {
    for (int j = 0; j < 16; ++j) block.qs[j] = static_cast<uint8_t>(codes[j] | (codes[j + 16] << 4));
  }
};

}  // namespace

const BlockCodec& mxfp4_codec() {
  static const GridCodecOf<Layout> codec;
  return codec;
}

}  // namespace lissom
