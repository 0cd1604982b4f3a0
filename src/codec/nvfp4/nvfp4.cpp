#include "codec/nvfp4/nvfp4.h"

#include <array>

#include "codec/builtin.h"
#include "codec/grid.h"
#include "codec/mxfp4/mxfp4.h"

namespace lissom {
namespace {

float listed(uint8_t s) {
  static const std::array<float, 256> table = [] {
    std::array<float, 256> all{};
    for (size_t i = 0; i < all.size(); ++i) all[i] = ue4m3_half(static_cast<uint8_t>(i));
    return all;
  }();
  return table[s];
}

struct Layout {
  using Block = BlockNVFP4;
  static constexpr std::string_view kName = "NVFP4";
  static constexpr ErrorInterval kInterval = {0.086, 0.095};
  static constexpr GridSpec kSpec = {.kind = GridKind::listed_scale,
                                     .block = 64,
                                     .sub = 16,
                                     .low = 0,
                                     .high = 15,
                                     .scale_low = 0,
                                     .scale_high = 126,
                                     .min_high = 0,
                                     .levels = kE2M1Levels,
                                     .max_level = 12,
                                     .scale_of = listed,
                                     .e2m1 = true};

  static void get_params(const Block& block, GridParams& params) {
    std::memcpy(params.scale, block.s, sizeof block.s);
  }
  static void set_params(const GridParams& params, Block& block) {
    std::memcpy(block.s, params.scale, sizeof block.s);
  }
  static void get_codes(const Block& block, int8_t* codes) {
    for (int i = 0; i < 32; ++i) {
      int8_t* sub = codes + i / 8 * 16 + i % 8;
      sub[0] = static_cast<int8_t>(block.qs[i] & 15);
      sub[8] = static_cast<int8_t>(block.qs[i] >> 4);
    }
  }
  static void set_codes(const int8_t* codes, Block& block) {
    for (int i = 0; i < 32; ++i) {
      const int8_t* sub = codes + i / 8 * 16 + i % 8;
      block.qs[i] = static_cast<uint8_t>(sub[0] | (sub[8] << 4));
    }
  }
};

/// The largest scale times the largest level is 2688.
class Nvfp4Codec final : public GridCodecOf<Layout> {
 public:
  [[nodiscard]] float max_magnitude() const override { return 2688.0F; }
};

}  // namespace

const BlockCodec& nvfp4_codec() {
  static const Nvfp4Codec codec;
  return codec;
}

}  // namespace lissom
