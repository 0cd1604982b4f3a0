// int4_g8_fp16_v1: groups of 8 columns with a signed F16 scale each: 6 bits a weight.

#include "codec/builtin.h"
#include "codec/int4/int4.h"

namespace lissom {

const Codec& int4_g8_fp16_codec() {
  static const int4::GroupsCodec codec("int4_g8_fp16_v1",
                                       {.family = "int4_g8_fp16_v1", .group = 8, .interval = {0.03, 0.08}});
  return codec;
}

}  // namespace lissom
