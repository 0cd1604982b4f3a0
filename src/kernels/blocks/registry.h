#pragma once
// The codecs with an integer kernel: one line each, here and in the list.

#include "kernels/blocks/iq1_m.h"
#include "kernels/blocks/iq1_s.h"
#include "kernels/blocks/iq2_s.h"
#include "kernels/blocks/iq2_xs.h"
#include "kernels/blocks/iq2_xxs.h"
#include "kernels/blocks/iq3_s.h"
#include "kernels/blocks/iq3_xxs.h"
#include "kernels/blocks/iq4_nl.h"
#include "kernels/blocks/iq4_xs.h"
#include "kernels/blocks/mxfp4.h"
#include "kernels/blocks/nvfp4.h"
#include "kernels/blocks/q2_k.h"
#include "kernels/blocks/q3_k.h"
#include "kernels/blocks/q4_0.h"
#include "kernels/blocks/q4_1.h"
#include "kernels/blocks/q4_k.h"
#include "kernels/blocks/q5_0.h"
#include "kernels/blocks/q5_1.h"
#include "kernels/blocks/q5_k.h"
#include "kernels/blocks/q6_k.h"
#include "kernels/blocks/q8_0.h"
#include "kernels/blocks/tq1_0.h"
#include "kernels/blocks/tq2_0.h"

namespace lissom::kernels {

using BlockFormats =
    FormatList<Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS, TQ1_0, TQ2_0, MXFP4,
               NVFP4, IQ3_XXS, IQ3_S, IQ2_XXS, IQ2_XS, IQ2_S, IQ1_S, IQ1_M>;

}  // namespace lissom::kernels
