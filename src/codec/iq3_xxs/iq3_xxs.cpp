#include "codec/iq3_xxs/iq3_xxs.h"

#include "codec/builtin.h"
#include "codec/codebook/codebook.h"

namespace lissom {
namespace {

struct Layout {
  using Block = BlockIQ3XXS;
  static constexpr CodebookSpec kSpec = {
      .name = "IQ3_XXS",
      .block_bytes = 98,
      .interval = {0.17, 0.187},
      .sub = 32,
      .dims = 4,
      .base = 8,
      .points = 256,
      .max_s = 15,
      .factor = 0.25F,
      .levels = {4, 12, 20, 28, 36, 44, 52, 62},
      .set = kIq3XxsPoints,
      .signs = SignBits::even,
      .shifts = ShiftBits::none,
      .first_position = 0.8F,
      .last_position = 1.35F,
      .positions = 8,
  };

  static void get(const Block& block, CodebookParams& params, CodebookCodes& codes) {
    params.d = block.d;
    for (int i = 0; i < 64; ++i) codes.point[i] = block.qs[i];
    for (int j = 0; j < 8; ++j) {
      uint32_t word = 0;
      std::memcpy(&word, block.signs + 4 * j, sizeof word);
      params.s[j] = static_cast<uint8_t>(word >> 28);
      for (int k = 0; k < 4; ++k) codes.signs[4 * j + k] = with_eighth_sign(word >> (7 * k) & 127U);
    }
  }
  static void set(const CodebookParams& params, const CodebookCodes& codes, Block& block) {
    block.d = params.d;
    for (int i = 0; i < 64; ++i) block.qs[i] = static_cast<uint8_t>(codes.point[i]);
    for (int j = 0; j < 8; ++j) {
      uint32_t word = static_cast<uint32_t>(params.s[j]) << 28;
      for (int k = 0; k < 4; ++k) word |= (codes.signs[4 * j + k] & 127U) << (7 * k);
      std::memcpy(block.signs + 4 * j, &word, sizeof word);
    }
  }
};

}  // namespace

const BlockCodec& iq3_xxs_codec() {
  static const CodebookCodecOf<Layout> codec;
  return codec;
}

}  // namespace lissom
