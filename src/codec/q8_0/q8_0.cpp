#include "codec/q8_0/q8_0.h"

#include "codec/builtin.h"
#include "codec/grid.h"

namespace lissom {
namespace {

struct Layout {
  using Block = BlockQ8_0;
  static constexpr std::string_view kName = "Q8_0";
  static constexpr ErrorInterval kInterval = {0.0048, 0.0058};
  static constexpr GridSpec kSpec = {.kind = GridKind::scale,
                                     .block = 32,
                                     .sub = 32,
                                     .low = -127,
                                     .high = 127,
                                     .scale_low = 0,
                                     .scale_high = 0,
                                     .min_high = 0,
                                     .levels = nullptr,
                                     .max_level = 127};

  static void get_params(const Block& block, GridParams& params) { params.d = block.d; }
  static void set_params(const GridParams& params, Block& block) { block.d = params.d; }
  static void get_codes(const Block& block, int8_t* codes) { std::memcpy(codes, block.qs, 32); }
  static void set_codes(const int8_t* codes, Block& block) { std::memcpy(block.qs, codes, 32); }
};

}  // namespace

const BlockCodec& q8_0_codec() {
  static const GridCodecOf<Layout> codec;
  return codec;
}

}  // namespace lissom
