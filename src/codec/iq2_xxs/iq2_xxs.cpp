#include "codec/iq2_xxs/iq2_xxs.h"

#include "codec/builtin.h"
#include "codec/codebook/codebook.h"

namespace lissom {
namespace {

struct Layout {
  using Block = BlockIQ2XXS;
  static constexpr CodebookSpec kSpec = {
      .name = "IQ2_XXS",
      .block_bytes = 66,
      .interval = {0.315, 0.345},
      .sub = 32,
      .dims = 8,
      .base = 3,
      .points = 256,
      .max_s = 15,
      .factor = 0.125F,
      .levels = {8, 25, 43},
      .set = kIq2XxsPoints,
      .signs = SignBits::even,
      .shifts = ShiftBits::none,
      .first_position = 0.8F,
      .last_position = 1.6F,
      .positions = 8,
  };

  static void get(const Block& block, CodebookParams& params, CodebookCodes& codes) {
    params.d = block.d;
    for (int j = 0; j < 8; ++j) {
      uint32_t word = 0;
      std::memcpy(&word, block.subs[j].signs, sizeof word);
      params.s[j] = static_cast<uint8_t>(word >> 28);
      for (int k = 0; k < 4; ++k) {
        codes.point[4 * j + k] = block.subs[j].point[k];
        codes.signs[4 * j + k] = with_eighth_sign(word >> (7 * k) & 127U);
      }
    }
  }
  static void set(const CodebookParams& params, const CodebookCodes& codes, Block& block) {
    block.d = params.d;
    for (int j = 0; j < 8; ++j) {
      uint32_t word = static_cast<uint32_t>(params.s[j]) << 28;
      for (int k = 0; k < 4; ++k) {
        block.subs[j].point[k] = static_cast<uint8_t>(codes.point[4 * j + k]);
        word |= (codes.signs[4 * j + k] & 127U) << (7 * k);
      }
      std::memcpy(block.subs[j].signs, &word, sizeof word);
    }
  }
};

}  // namespace

const BlockCodec& iq2_xxs_codec() {
  static const CodebookCodecOf<Layout> codec;
  return codec;
}

}  // namespace lissom
