// int4_hybrid_v2: groups of 32 columns with scale and offset; by sensitivity an eighth of them has 8 bits, a
// quarter 2 bits, the rest 4: the average stays 4, and what the scales take.

#include "codec/builtin.h"
#include "codec/int4/int4.h"

namespace lissom {

const Codec& int4_hybrid_codec() {
  static const int4::GroupsCodec codec("int4_hybrid_v2", {.family = "int4_hybrid_v2",
                                                          .group = 32,
                                                          .offsets = true,
                                                          .eights = 1,
                                                          .twos = 2,
                                                          .interval = {0.1, 0.3}});
  return codec;
}

}  // namespace lissom
