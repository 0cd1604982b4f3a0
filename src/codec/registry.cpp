// The explicit list of codecs. Adding one is a folder and a line here.

#include <array>

#include "codec/builtin.h"

namespace lissom {

std::span<const Codec* const> codecs() {
  static const auto list = std::to_array<const Codec*>({
      &f32_codec(),    &f16_codec(),    &bf16_codec(),    &q8_0_codec(),    &q4_0_codec(),  &q4_1_codec(),
      &q5_0_codec(),   &q5_1_codec(),   &q2_k_codec(),    &q3_k_codec(),    &q4_k_codec(),  &q5_k_codec(),
      &q6_k_codec(),   &iq4_nl_codec(), &iq4_xs_codec(),  &iq3_xxs_codec(), &iq3_s_codec(), &iq2_xxs_codec(),
      &iq2_xs_codec(), &iq2_s_codec(),  &iq1_s_codec(),   &iq1_m_codec(),   &tq1_0_codec(), &tq2_0_codec(),
      &mxfp4_codec(),  &nvfp4_codec(),  &f8_e4m3_codec(), &f8_e5m2_codec(), &f64_codec(),
  });
  return list;
}

const Codec* find_codec(std::string_view name) {
  for (const Codec* codec : codecs())
    if (codec->name() == name) return codec;
  return nullptr;
}

const BlockCodec* find_block_codec(std::string_view name) {
  return dynamic_cast<const BlockCodec*>(find_codec(name));
}

}  // namespace lissom
