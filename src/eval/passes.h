#pragma once
// How an evaluation is cut into forward passes: what bounds its memory.

#include <cstdint>

namespace lissom {

inline constexpr int64_t kPassTokens = 1024;                ///< tokens of a pass, unless one window has more
inline constexpr int64_t kLogitBytes = int64_t{64} << 20U;  ///< logits of one model held at once

}  // namespace lissom
