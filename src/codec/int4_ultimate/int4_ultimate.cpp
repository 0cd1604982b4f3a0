// int4_ultimate_v1: everything at once. Groups of 64 with scale and offset, the most sensitive eighth of them
// in 8 bits for all rows, columns divided by importance^alpha, 0.5% of every row in F16 apart.

#include "codec/builtin.h"
#include "codec/int4/int4.h"

namespace lissom {

const Codec& int4_ultimate_codec() {
  static const int4::GroupsCodec codec("int4_ultimate_v1", {.family = "int4_ultimate_v1",
                                                            .group = 64,
                                                            .offsets = true,
                                                            .awq = true,
                                                            .outliers = true,
                                                            .eights = 1,
                                                            .interval = {0.05, 0.14}});
  return codec;
}

}  // namespace lissom
