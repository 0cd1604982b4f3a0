#include "codec/q4_1/q4_1.h"

#include "codec/builtin.h"
#include "codec/grid.h"

namespace lissom {
namespace {

struct Layout {
  using Block = BlockQ4_1;
  static constexpr std::string_view kName = "Q4_1";
  static constexpr ErrorInterval kInterval = {0.066, 0.075};
  static constexpr GridSpec kSpec = {.kind = GridKind::scale_offset,
                                     .block = 32,
                                     .sub = 32,
                                     .low = 0,
                                     .high = 15,
                                     .scale_low = 0,
                                     .scale_high = 0,
                                     .min_high = 0,
                                     .levels = nullptr,
                                     .max_level = 15};

  static void get_params(const Block& block, GridParams& params) {
    params.d = block.d;
    params.m = block.m;
  }
  static void set_params(const GridParams& params, Block& block) {
    block.d = params.d;
    block.m = params.m;
  }
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

const BlockCodec& q4_1_codec() {
  static const GridCodecOf<Layout> codec;
  return codec;
}

}  // namespace lissom
