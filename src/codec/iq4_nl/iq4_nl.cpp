#include "codec/iq4_nl/iq4_nl.h"

#include "codec/builtin.h"
#include "codec/grid.h"

namespace lissom {
namespace {

struct Layout {
  using Block = BlockIQ4NL;
  static constexpr std::string_view kName = "IQ4_NL";
  static constexpr ErrorInterval kInterval = {0.069, 0.079};
  static constexpr GridSpec kSpec = {.kind = GridKind::scale,
                                     .block = 32,
                                     .sub = 32,
                                     .low = 0,
                                     .high = 15,
                                     .scale_low = 0,
                                     .scale_high = 0,
                                     .min_high = 0,
                                     .levels = kIQ4Levels,
                                     .max_level = 127};

  static void get_params(const Block& block, GridParams& params) { params.d = block.d; }
  static void set_params(const GridParams& params, Block& block) { block.d = params.d; }
  static void get_codes(const Block& block, int8_t* codes) {
    for (int j = 0; j < 16; ++j) {
      codes[j] = static_cast<int8_t>((block.qs[j] & 15));
      codes[j + 16] = static_cast<int8_t>((block.qs[j] >> 4));
    }
  }
  static void set_codes(const int8_t* codes, Block& block) {
    for (int j = 0; j < 16; ++j) block.qs[j] = static_cast<uint8_t>(codes[j] | (codes[j + 16] << 4));
  }
};

}  // namespace

const BlockCodec& iq4_nl_codec() {
  static const GridCodecOf<Layout> codec;
  return codec;
}

}  // namespace lissom
