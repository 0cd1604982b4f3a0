#pragma once
// How an evaluation is cut into forward passes: what bounds its memory.

#include <algorithm>
#include <cstdint>

namespace lissom {

inline constexpr int64_t kPassTokens = 1024;                ///< tokens of a pass, unless one window has more
inline constexpr int64_t kLogitBytes = int64_t{64} << 20U;  ///< logits of one model held at once

/// Windows of `context` tokens that a pass takes side by side, of `count`.
[[nodiscard]] constexpr int64_t windows_at_once(int64_t context, int64_t count) {
  return std::clamp<int64_t>(kPassTokens / context, 1, count);
}

}  // namespace lissom
