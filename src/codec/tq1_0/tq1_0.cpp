#include "codec/tq1_0/tq1_0.h"

#include "codec/builtin.h"
#include "codec/grid.h"

namespace lissom {
namespace {

/// `count` bytes of `digits` digits each; the codes of a digit lie side by side.
void get_digits(const uint8_t* bytes, int count, int digits, int8_t* codes) {
  for (int k = 0; k < digits; ++k)
    for (int l = 0; l < count; ++l)
      codes[k * count + l] = static_cast<int8_t>(kTernaryDigits[bytes[l]][static_cast<size_t>(k)] - 1);
}
void set_digits(const int8_t* codes, int count, int digits, uint8_t* bytes) {
  for (int l = 0; l < count; ++l) {
    int number = 0;
    for (int k = 0; k < 5; ++k) number = 3 * number + (k < digits ? codes[k * count + l] + 1 : 0);
    bytes[l] = static_cast<uint8_t>((number * 256 + 242) / 243);
  }
}

struct Layout {
  using Block = BlockTQ10;
  static constexpr std::string_view kName = "TQ1_0";
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
    get_digits(block.qs, 32, 5, codes);
    get_digits(block.qs + 32, 16, 5, codes + 160);
    get_digits(block.qh, 4, 4, codes + 240);
  }
  static void set_codes(const int8_t* codes, Block& block) {
    set_digits(codes, 32, 5, block.qs);
    set_digits(codes + 160, 16, 5, block.qs + 32);
    set_digits(codes + 240, 4, 4, block.qh);
  }
};

}  // namespace

const BlockCodec& tq1_0_codec() {
  static const GridCodecOf<Layout> codec;
  return codec;
}

}  // namespace lissom
