#include "codec/tq2_0/tq2_0.h"

#include "codec/builtin.h"
#include "codec/grid.h"

namespace lissom {
namespace {

struct Layout {
  using Block = BlockTQ20;
  static constexpr std::string_view kName = "TQ2_0";
  static constexpr ErrorInterval kInterval = {0.42, 0.455};
  static constexpr GridSpec kSpec = {.kind = GridKind::scale,
                                     .block = 256,
                                     .sub = 256,
                                     .low = -1,
                                     .high = 1,
                                     .scale_low = 0,
                                     .scale_high = 0,
                                     .min_high = 0,
                                     .levels = nullptr,
                                     .max_level = 1};

  static void get_params(const Block& block, GridParams& params) { params.d = block.d; }
  static void set_params(const GridParams& params, Block& block) { block.d = params.d; }
  static void get_codes(const Block& block, int8_t* codes) {
    for (int i = 0; i < 256; ++i)
      codes[i] = static_cast<int8_t>(((block.qs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2)) & 3) - 1);
  }
  static void set_codes(const int8_t* codes, Block& block) {
    for (int i = 0; i < 64; ++i) {
      const int8_t* c = codes + i / 32 * 128 + i % 32;
      block.qs[i] =
          static_cast<uint8_t>((c[0] + 1) | ((c[32] + 1) << 2) | ((c[64] + 1) << 4) | ((c[96] + 1) << 6));
    }
  }
};

}  // namespace

const BlockCodec& tq2_0_codec() {
  static const GridCodecOf<Layout> codec;
  return codec;
}

}  // namespace lissom
