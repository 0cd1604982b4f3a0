#include "codec/iq2_xs/iq2_xs.h"

#include "codec/builtin.h"
#include "codec/codebook/codebook.h"

namespace lissom {
namespace {

struct Layout {
  using Block = BlockIQ2XS;
  static constexpr CodebookSpec kSpec = {
      .name = "IQ2_XS",
      .block_bytes = 74,
      .interval = {0.275, 0.3},
      .sub = 16,
      .dims = 8,
      .base = 3,
      .points = 512,
      .max_s = 15,
      .factor = 0.125F,
      .levels = {8, 25, 43},
      .set = kIq2XsPoints,
      .signs = SignBits::even,
      .shifts = ShiftBits::none,
      .first_position = 0.8F,
      .last_position = 1.6F,
      .positions = 8,
  };

  static void get(const Block& block, CodebookParams& params, CodebookCodes& codes) {
    params.d = block.d;
    for (int j = 0; j < 16; ++j) params.s[j] = block.scales[j / 2] >> (4 * (j % 2)) & 15;
    for (int o = 0; o < 32; ++o) {
      codes.point[o] = block.qs[o] & 511;
      codes.signs[o] = with_eighth_sign(block.qs[o] >> 9);
    }
  }
  static void set(const CodebookParams& params, const CodebookCodes& codes, Block& block) {
    block.d = params.d;
    for (int j = 0; j < 16; j += 2)
      block.scales[j / 2] = static_cast<uint8_t>(params.s[j] | params.s[j + 1] << 4);
    for (int o = 0; o < 32; ++o)
      block.qs[o] = static_cast<uint16_t>(codes.point[o] | (codes.signs[o] & 127) << 9);
  }
};

}  // namespace

const BlockCodec& iq2_xs_codec() {
  static const CodebookCodecOf<Layout> codec;
  return codec;
}

}  // namespace lissom
