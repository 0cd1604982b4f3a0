// The explicit list of codecs. Adding one is a folder and a line here.

#include <array>
#include <map>
#include <mutex>

#include "codec/builtin.h"
#include "codec/family.h"

namespace lissom {

std::span<const Codec* const> codecs() {
  static const auto list = std::to_array<const Codec*>({
      &f32_codec(),           &f16_codec(),           &bf16_codec(),
      &q8_0_codec(),          &q4_0_codec(),          &q4_1_codec(),
      &q5_0_codec(),          &q5_1_codec(),          &q2_k_codec(),
      &q3_k_codec(),          &q4_k_codec(),          &q5_k_codec(),
      &q6_k_codec(),          &iq4_nl_codec(),        &iq4_xs_codec(),
      &iq3_xxs_codec(),       &iq3_s_codec(),         &iq2_xxs_codec(),
      &iq2_xs_codec(),        &iq2_s_codec(),         &iq1_s_codec(),
      &iq1_m_codec(),         &tq1_0_codec(),         &tq2_0_codec(),
      &mxfp4_codec(),         &nvfp4_codec(),         &f8_e4m3_codec(),
      &f8_e5m2_codec(),       &f64_codec(),           &int4_awq_codec(),
      &int4_residual_codec(), &int4_g8_fp16_codec(),  &int4_opt_llama_codec(),
      &tenpak_x_codec(),      &calibrated_vq_codec(), &int4_ultimate_codec(),
      &int4_hybrid_codec(),   &lissom_2_codec(),      &lissom_2_5_codec(),
      &lissom_3_codec(),      &lissom_4_codec(),
  });
  return list;
}

std::span<const CodecFamily* const> codec_families() {
  static const auto list = std::to_array<const CodecFamily*>({
      &svd_int8_family(),
      &stacked_family(),
      &int4_awq_family(),
      &calibrated_vq_family(),
  });
  return list;
}

namespace {

constexpr size_t kMaxName = 128;

/// Codecs of families, made once and kept: what finds them holds on to the pointer.
Result<const Codec*> of_family(const CodecFamily& family, std::string_view name, std::string_view parameters) {
  static std::recursive_mutex mutex;  // a family may ask for the codecs that it is made of
  static std::map<std::string, std::unique_ptr<Codec>, std::less<>> made;
  const std::lock_guard lock(mutex);
  if (const auto found = made.find(name); found != made.end()) return found->second.get();
  auto codec = family.make(parameters);
  if (!codec) return tl::unexpected(codec.error().within("codec " + std::string(name)));
  if ((*codec)->name() != name) {  // another spelling of the same
    if (const auto found = made.find((*codec)->name()); found != made.end()) return found->second.get();
  }
  const std::string full((*codec)->name());
  return made.emplace(full, std::move(*codec)).first->second.get();
}

}  // namespace

Result<const Codec*> codec_named(std::string_view name) {
  for (const Codec* codec : codecs())
    if (codec->name() == name) return codec;
  const size_t colon = std::min(name.find(':'), name.size());
  if (name.size() <= kMaxName)
    for (const CodecFamily* family : codec_families())
      if (family->name() == name.substr(0, colon))
        return of_family(*family, name, colon < name.size() ? name.substr(colon + 1) : std::string_view());
  return bad_input("unknown codec '" + std::string(name.substr(0, kMaxName)) + "'");
}

const Codec* find_codec(std::string_view name) {
  const auto found = codec_named(name);
  return found ? *found : nullptr;
}

const BlockCodec* find_block_codec(std::string_view name) {
  return dynamic_cast<const BlockCodec*>(find_codec(name));
}

}  // namespace lissom
