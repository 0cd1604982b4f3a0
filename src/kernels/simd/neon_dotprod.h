// ARMv8.2 with the dot product of signed bytes.
#define LISSOM_TARGET_NAMESPACE neon_dotprod_target
#define LISSOM_DOTPROD 1

#include "kernels/simd/neon_common.h"

constexpr bool kSignedWide = true;
constexpr bool kWidensTables = false;

template <bool Wide>
inline int8x16_t signed_codes(uint8x16_t u) {
  return vreinterpretq_s8_u8(Wide ? veorq_u8(u, vdupq_n_u8(0x80)) : u);
}
template <bool Wide, int Token>
inline I dot_token(I acc, B u, int8x16_t x) {
  return {vdotq_laneq_s32(acc.a, signed_codes<Wide>(u.a), x, Token),
          vdotq_laneq_s32(acc.b, signed_codes<Wide>(u.b), x, Token),
          vdotq_laneq_s32(acc.c, signed_codes<Wide>(u.c), x, Token),
          vdotq_laneq_s32(acc.d, signed_codes<Wide>(u.d), x, Token)};
}
template <bool Wide, int T, int N>
inline void dot_tokens(B u, int8x16_t x, I (&acc)[N]) {
  static_assert(N == T && (N == 1 || N == 2 || N == 4));
  acc[0] = dot_token<Wide, 0>(acc[0], u, x);
  if constexpr (N >= 2) acc[1] = dot_token<Wide, 1>(acc[1], u, x);
  if constexpr (N == 4) {
    acc[2] = dot_token<Wide, 2>(acc[2], u, x);
    acc[3] = dot_token<Wide, 3>(acc[3], u, x);
  }
}
template <bool Wide, int T, int N>
inline void dot_pair(B u, B v, const int8_t* a, I (&acc)[N]) {
  dot_tokens<Wide, T, N>(u, load_tokens<T>(a), acc);
  dot_tokens<Wide, T, N>(v, load_tokens<T>(a + 4 * T), acc);
}
template <int N>
inline void to_pairs(I (&)[N]) {}
template <int N>
inline void from_pairs(I (&)[N]) {}
