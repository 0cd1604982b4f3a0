#pragma once
// The codecs that registry.cpp lists, one function each, defined in the codec's own folder.

#include "codec/family.h"
#include "lissom/codec.h"

namespace lissom {

[[nodiscard]] const CodecFamily& svd_int8_family();
[[nodiscard]] const CodecFamily& stacked_family();

[[nodiscard]] const BlockCodec& f32_codec();
[[nodiscard]] const BlockCodec& f16_codec();
[[nodiscard]] const BlockCodec& bf16_codec();
[[nodiscard]] const BlockCodec& q8_0_codec();
[[nodiscard]] const BlockCodec& q4_0_codec();
[[nodiscard]] const BlockCodec& q4_1_codec();
[[nodiscard]] const BlockCodec& q5_0_codec();
[[nodiscard]] const BlockCodec& q5_1_codec();
[[nodiscard]] const BlockCodec& q2_k_codec();
[[nodiscard]] const BlockCodec& q3_k_codec();
[[nodiscard]] const BlockCodec& q4_k_codec();
[[nodiscard]] const BlockCodec& q5_k_codec();
[[nodiscard]] const BlockCodec& q6_k_codec();
[[nodiscard]] const BlockCodec& iq4_nl_codec();
[[nodiscard]] const BlockCodec& iq4_xs_codec();
[[nodiscard]] const BlockCodec& tq1_0_codec();
[[nodiscard]] const BlockCodec& tq2_0_codec();
[[nodiscard]] const BlockCodec& mxfp4_codec();
[[nodiscard]] const BlockCodec& nvfp4_codec();
[[nodiscard]] const BlockCodec& iq3_xxs_codec();
[[nodiscard]] const BlockCodec& iq3_s_codec();
[[nodiscard]] const BlockCodec& iq2_xxs_codec();
[[nodiscard]] const BlockCodec& iq2_xs_codec();
[[nodiscard]] const BlockCodec& iq2_s_codec();
[[nodiscard]] const BlockCodec& iq1_s_codec();
[[nodiscard]] const BlockCodec& iq1_m_codec();
[[nodiscard]] const BlockCodec& f8_e4m3_codec();
[[nodiscard]] const BlockCodec& f8_e5m2_codec();
[[nodiscard]] const BlockCodec& f64_codec();
[[nodiscard]] const Codec& int4_awq_codec();
[[nodiscard]] const Codec& int4_residual_codec();
[[nodiscard]] const Codec& int4_g8_fp16_codec();
[[nodiscard]] const Codec& int4_opt_llama_codec();
[[nodiscard]] const Codec& tenpak_x_codec();
[[nodiscard]] const Codec& calibrated_vq_codec();
[[nodiscard]] const Codec& int4_ultimate_codec();
[[nodiscard]] const Codec& int4_hybrid_codec();
[[nodiscard]] const Codec& lissom_2_codec();
[[nodiscard]] const Codec& lissom_2_5_codec();
[[nodiscard]] const Codec& lissom_3_codec();
[[nodiscard]] const Codec& lissom_4_codec();

[[nodiscard]] const CodecFamily& int4_awq_family();
[[nodiscard]] const CodecFamily& calibrated_vq_family();

}  // namespace lissom
