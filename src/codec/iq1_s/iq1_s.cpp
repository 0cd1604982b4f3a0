#include "codec/iq1_s/iq1_s.h"

#include "codec/builtin.h"
#include "codec/codebook/codebook.h"

namespace lissom {
namespace {

struct Layout {
  using Block = BlockIQ1S;
  static constexpr CodebookSpec kSpec = {
      .name = "IQ1_S",
      .block_bytes = 50,
      .interval = {0.43, 0.47},
      .sub = 32,
      .dims = 8,
      .base = 3,
      .points = 2048,
      .max_s = 7,
      .factor = 0.125F,
      .levels = {-7, 1, 9},
      .set = kIq1Points,
      .signs = SignBits::none,
      .shifts = ShiftBits::sub,
      .first_position = 0.9F,
      .last_position = 2.7F,
      .positions = 7,
  };

  static void get(const Block& block, CodebookParams& params, CodebookCodes& codes) {
    params.d = block.d;
    for (int j = 0; j < 8; ++j) {
      params.s[j] = block.qh[j] >> 12 & 7;
      params.negative = static_cast<uint8_t>(params.negative | block.qh[j] >> 15 << j);
    }
    for (int o = 0; o < 32; ++o)
      codes.point[o] = static_cast<uint16_t>(block.qs[o] | (block.qh[o / 4] >> (3 * (o % 4)) & 7) << 8);
  }
  static void set(const CodebookParams& params, const CodebookCodes& codes, Block& block) {
    block.d = params.d;
    for (int j = 0; j < 8; ++j)
      block.qh[j] = static_cast<uint16_t>(params.s[j] << 12 | (params.negative >> j & 1) << 15);
    for (int o = 0; o < 32; ++o) {
      block.qs[o] = static_cast<uint8_t>(codes.point[o] & 255);
      block.qh[o / 4] = static_cast<uint16_t>(block.qh[o / 4] | codes.point[o] >> 8 << (3 * (o % 4)));
    }
  }
};

}  // namespace

const BlockCodec& iq1_s_codec() {
  static const CodebookCodecOf<Layout> codec;
  return codec;
}

}  // namespace lissom
