// int4_awq_v1: groups of 64 … 4096 columns (128 where the name does not say) with an F16 scale and offset,
// columns divided by importance^alpha, 0.5% of every row in F16 apart. int4_awq_v1:g512 has groups of 512.

#include <charconv>

#include "codec/builtin.h"
#include "codec/family.h"
#include "codec/int4/int4.h"

namespace lissom {

namespace {

int4::Options options(int64_t group) {
  return {.family = "int4_awq_v1",
          .group = group,
          .offsets = true,
          .awq = true,
          .outliers = true,
          .interval = {0.06, 0.16}};
}

class AwqFamily final : public CodecFamily {
 public:
  [[nodiscard]] std::string_view name() const override { return "int4_awq_v1"; }
  [[nodiscard]] std::string_view parameters() const override { return "g64 … g4096 (columns of a group)"; }
  [[nodiscard]] Result<std::unique_ptr<Codec>> make(std::string_view parameters) const override {
    int64_t group = 0;
    const char* end = parameters.data() + parameters.size();
    if (parameters.empty() || parameters[0] != 'g' ||
        std::from_chars(parameters.data() + 1, end, group).ptr != end || group < 64 || group > 4096 ||
        group % 8 != 0)
      return bad_input("'" + std::string(parameters) + "' is not g64 … g4096, a multiple of 8");
    return std::make_unique<int4::GroupsCodec>("int4_awq_v1:g" + std::to_string(group), options(group));
  }
};

}  // namespace

const Codec& int4_awq_codec() {
  static const int4::GroupsCodec codec("int4_awq_v1", options(128));
  return codec;
}
const CodecFamily& int4_awq_family() {
  static const AwqFamily family;
  return family;
}

}  // namespace lissom
