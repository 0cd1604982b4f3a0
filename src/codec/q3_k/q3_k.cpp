#include "codec/q3_k/q3_k.h"

#include "codec/builtin.h"
#include "codec/grid.h"

namespace lissom {
namespace {

struct Layout {
  using Block = BlockQ3K;
  static constexpr std::string_view kName = "Q3_K";
  static constexpr ErrorInterval kInterval = {0.135, 0.153};
  static constexpr GridSpec kSpec = {.kind = GridKind::sub_scale,
                                     .block = 256,
                                     .sub = 16,
                                     .low = -4,
                                     .high = 3,
                                     .scale_low = -32,
                                     .scale_high = 31,
                                     .min_high = 0,
                                     .levels = nullptr,
                                     .max_level = 4};

  static void get_params(const Block& block, GridParams& params) {
    params.d = block.d;
    for (int j = 0; j < 16; ++j) {
      const int low = (block.scales[j % 8] >> (j / 8 * 4)) & 15,
                high = (block.scales[8 + j % 4] >> (j / 4 * 2)) & 3;
      params.scale[j] = static_cast<int8_t>((low | (high << 4)) - 32);
    }
  }
  static void set_params(const GridParams& params, Block& block) {
    block.d = params.d;
    std::memset(block.scales, 0, sizeof block.scales);
    for (int j = 0; j < 16; ++j) {
      const int s = params.scale[j] + 32;
      uint8_t &low = block.scales[j % 8], &high = block.scales[8 + j % 4];
      low = static_cast<uint8_t>(low | ((s & 15) << (j / 8 * 4)));
      high = static_cast<uint8_t>(high | ((s >> 4) << (j / 4 * 2)));
    }
  }
  static void get_codes(const Block& block, int8_t* codes) {
    for (int i = 0; i < 256; ++i) {
      const int low = (block.qs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2)) & 3;
      const int high = (block.hmask[i % 32] >> (i / 32)) & 1;
      codes[i] = static_cast<int8_t>((low | (high << 2)) - 4);
    }
  }
  static void set_codes(const int8_t* codes, Block& block) {
    std::memset(block.hmask, 0, sizeof block.hmask);
    for (int i = 0; i < 64; ++i) {
      int low = 0, high = 0;
      for (int k = 0; k < 4; ++k) {
        const int q = codes[i / 32 * 128 + k * 32 + i % 32] + 4;
        low |= (q & 3) << (2 * k);
        high |= (q >> 2) << k;
      }
      block.qs[i] = static_cast<uint8_t>(low);
      block.hmask[i % 32] = static_cast<uint8_t>(block.hmask[i % 32] | (high << (i / 32 * 4)));
    }
  }
};

}  // namespace

const BlockCodec& q3_k_codec() {
  static const GridCodecOf<Layout> codec;
  return codec;
}

}  // namespace lissom
