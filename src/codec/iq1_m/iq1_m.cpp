#include "codec/iq1_m/iq1_m.h"

#include "codec/builtin.h"
#include "codec/codebook/codebook.h"

namespace lissom {
namespace {

struct Layout {
  using Block = BlockIQ1M;
  static constexpr CodebookSpec kSpec = {
      .name = "IQ1_M",
      .block_bytes = 56,
      .interval = {0.4, 0.435},
      .sub = 16,
      .dims = 8,
      .base = 3,
      .points = 2048,
      .max_s = 7,
      .factor = 0.125F,
      .levels = {-7, 1, 9},
      .set = kIq1Points,
      .signs = SignBits::none,
      .shifts = ShiftBits::eight,
      .first_position = 0.9F,
      .last_position = 2.7F,
      .positions = 7,
  };

  static void get(const Block& block, CodebookParams& params, CodebookCodes& codes) {
    for (int i = 0; i < 4; ++i) {
      params.d = static_cast<uint16_t>(params.d | block.scales[i] >> 12 << (4 * i));
      for (int k = 0; k < 4; ++k) params.s[4 * i + k] = block.scales[i] >> (3 * k) & 7;
    }
    for (int o = 0; o < 32; ++o) {
      const int high = block.qh[o / 2] >> (4 * (o % 2)) & 15;
      codes.point[o] = static_cast<uint16_t>(block.qs[o] | (high & 7) << 8);
      codes.signs[o] = static_cast<uint8_t>(high >> 3);
    }
  }
  static void set(const CodebookParams& params, const CodebookCodes& codes, Block& block) {
    for (int i = 0; i < 4; ++i) {
      int word = (params.d >> (4 * i) & 15) << 12;
      for (int k = 0; k < 4; ++k) word |= params.s[4 * i + k] << (3 * k);
      block.scales[i] = static_cast<uint16_t>(word);
    }
    for (int o = 0; o < 32; ++o) {
      block.qs[o] = static_cast<uint8_t>(codes.point[o] & 255);
      const int high = codes.point[o] >> 8 | codes.signs[o] << 3;
      block.qh[o / 2] = static_cast<uint8_t>(block.qh[o / 2] | high << (4 * (o % 2)));
    }
  }
};

}  // namespace

const BlockCodec& iq1_m_codec() {
  static const CodebookCodecOf<Layout> codec;
  return codec;
}

}  // namespace lissom
