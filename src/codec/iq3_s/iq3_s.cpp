#include "codec/iq3_s/iq3_s.h"

#include "codec/builtin.h"
#include "codec/codebook/codebook.h"

namespace lissom {
namespace {

struct Layout {
  using Block = BlockIQ3S;
  static constexpr CodebookSpec kSpec = {
      .name = "IQ3_S",
      .block_bytes = 110,
      .interval = {0.124, 0.136},
      .sub = 32,
      .dims = 4,
      .base = 8,
      .points = 512,
      .max_s = 15,
      .factor = 1.0F,
      .levels = {1, 3, 5, 7, 9, 11, 13, 15},
      .set = kIq3SPoints,
      .signs = SignBits::free,
      .shifts = ShiftBits::none,
      .first_position = 0.8F,
      .last_position = 1.35F,
      .positions = 8,
  };

  static void get(const Block& block, CodebookParams& params, CodebookCodes& codes) {
    params.d = block.d;
    for (int j = 0; j < 8; ++j) params.s[j] = block.scales[j / 2] >> (4 * (j % 2)) & 15;
    for (int i = 0; i < 64; ++i)
      codes.point[i] = static_cast<uint16_t>(block.qs[i] | (block.qh[i / 8] >> (i % 8) & 1) << 8);
    std::memcpy(codes.signs, block.signs, sizeof block.signs);
  }
  static void set(const CodebookParams& params, const CodebookCodes& codes, Block& block) {
    block.d = params.d;
    for (int j = 0; j < 8; j += 2)
      block.scales[j / 2] = static_cast<uint8_t>(params.s[j] | params.s[j + 1] << 4);
    for (int i = 0; i < 64; ++i) {
      block.qs[i] = static_cast<uint8_t>(codes.point[i] & 255);
      block.qh[i / 8] = static_cast<uint8_t>(block.qh[i / 8] | codes.point[i] >> 8 << (i % 8));
    }
    std::memcpy(block.signs, codes.signs, sizeof block.signs);
  }
};

}  // namespace

const BlockCodec& iq3_s_codec() {
  static const CodebookCodecOf<Layout> codec;
  return codec;
}

}  // namespace lissom
