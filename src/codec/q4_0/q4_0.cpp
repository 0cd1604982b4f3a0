#include "codec/q4_0/q4_0.h"

#include "codec/builtin.h"
#include "codec/grid.h"

namespace lissom {
namespace {

struct Layout {
  using Block = BlockQ4_0;
  static constexpr std::string_view kName = "Q4_0";
  static constexpr ErrorInterval kInterval = {0.076, 0.086};
  static constexpr GridSpec kSpec = {.kind = GridKind::scale,
                                     .block = 32,
                                     .sub = 32,
                                     .low = -8,
                                     .high = 7,
                                     .scale_low = 0,
                                     .scale_high = 0,
                                     .min_high = 0,
                                     .levels = nullptr,
                                     .max_level = 8};

  static void get_params(const Block& block, GridParams& params) { params.d = block.d; }
  static void set_params(const GridParams& params, Block& block) { block.d = params.d; }
  static void get_codes(const Block& block, int8_t* codes) {
    for (int j = 0; j < 16; ++j) {
      codes[j] = static_cast<int8_t>((block.qs[j] & 15) - 8);
      codes[j + 16] = static_cast<int8_t>((block.qs[j] >> 4) - 8);
    }
  }
  static void set_codes(const int8_t* codes, Block& block) {
    for (int j = 0; j < 16; ++j)
      block.qs[j] = static_cast<uint8_t>((codes[j] + 8) | ((codes[j + 16] + 8) << 4));
  }
};

}  // namespace

const BlockCodec& q4_0_codec() {
  static const GridCodecOf<Layout> codec;
  return codec;
}

}  // namespace lissom
