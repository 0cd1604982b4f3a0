#include "codec/q5_0/q5_0.h"

#include "codec/builtin.h"
#include "codec/grid.h"
#include "codec/q5_0/five_bits.h"

namespace lissom {
namespace {

struct Layout {
  using Block = BlockQ5_0;
  static constexpr std::string_view kName = "Q5_0";
  static constexpr ErrorInterval kInterval = {0.038, 0.044};
  static constexpr GridSpec kSpec = {.kind = GridKind::scale,
                                     .block = 32,
                                     .sub = 32,
                                     .low = -16,
                                     .high = 15,
                                     .scale_low = 0,
                                     .scale_high = 0,
                                     .min_high = 0,
                                     .levels = nullptr,
                                     .max_level = 16};

  static void get_params(const Block& block, GridParams& params) { params.d = block.d; }
  static void set_params(const GridParams& params, Block& block) { block.d = params.d; }
  static void get_codes(const Block& block, int8_t* codes) {
    for (int j = 0; j < 16; ++j) {
      const int low_bit = (block.qh[j / 8] >> (j % 8)) & 1, high_bit = (block.qh[2 + j / 8] >> (j % 8)) & 1;
      codes[j] = static_cast<int8_t>(((block.qs[j] & 15) | (low_bit << 4)) - 16);
      codes[j + 16] = static_cast<int8_t>(((block.qs[j] >> 4) | (high_bit << 4)) - 16);
    }
  }
  static void set_codes(const int8_t* codes, Block& block) {
    uint8_t unsigned_codes[32];
    for (int i = 0; i < 32; ++i) unsigned_codes[i] = static_cast<uint8_t>(codes[i] + 16);
    pack_five_bits(unsigned_codes, block.qh, block.qs);
  }
};

}  // namespace

const BlockCodec& q5_0_codec() {
  static const GridCodecOf<Layout> codec;
  return codec;
}

}  // namespace lissom
