#include "codec/iq2_s/iq2_s.h"

#include "codec/builtin.h"
#include "codec/codebook/codebook.h"

namespace lissom {
namespace {

struct Layout {
  using Block = BlockIQ2S;
  static constexpr CodebookSpec kSpec = {
      .name = "IQ2_S",
      .block_bytes = 82,
      .interval = {0.23, 0.25},
      .sub = 16,
      .dims = 8,
      .base = 3,
      .points = 1024,
      .max_s = 15,
      .factor = 0.125F,
      .levels = {8, 25, 43},
      .set = kIq2SPoints,
      .signs = SignBits::free,
      .shifts = ShiftBits::none,
      .first_position = 0.8F,
      .last_position = 1.6F,
      .positions = 8,
  };

  static void get(const Block& block, CodebookParams& params, CodebookCodes& codes) {
    params.d = block.d;
    for (int j = 0; j < 16; ++j) params.s[j] = block.scales[j / 2] >> (4 * (j % 2)) & 15;
    for (int o = 0; o < 32; ++o)
      codes.point[o] = static_cast<uint16_t>(block.qs[o] | (block.qh[o / 4] >> (2 * (o % 4)) & 3) << 8);
    std::memcpy(codes.signs, block.signs, sizeof block.signs);
  }
  static void set(const CodebookParams& params, const CodebookCodes& codes, Block& block) {
    block.d = params.d;
    for (int j = 0; j < 16; j += 2)
      block.scales[j / 2] = static_cast<uint8_t>(params.s[j] | params.s[j + 1] << 4);
    for (int o = 0; o < 32; ++o) {
      block.qs[o] = static_cast<uint8_t>(codes.point[o] & 255);
      block.qh[o / 4] = static_cast<uint8_t>(block.qh[o / 4] | codes.point[o] >> 8 << (2 * (o % 4)));
    }
    std::memcpy(block.signs, codes.signs, sizeof block.signs);
  }
};

}  // namespace

const BlockCodec& iq2_s_codec() {
  static const CodebookCodecOf<Layout> codec;
  return codec;
}

}  // namespace lissom
