#pragma once
// Sixteen float lanes: the reference that lanes_avx2.h, lanes_avx512.h and lanes_neon.h equal bit for bit, and
// what other machines run. In the compilers' own four-wide vectors, which every machine has.
//
// A file that is to run on several instruction sets is included by one small .cpp for each: that .cpp includes
// one of the lanes headers, which define LANES (the namespace), LANES_FN (before functions), LANES_INLINE
// (before small ones) and LANES_LAMBDA. No function that is not inlined takes or returns lanes by
// value: GCC 12 clears their upper parts on the way (vzeroupper) where a struct holds them. The sixteen lanes
// never mix and no sum is reassociated or fused, so every target computes the same bits.

#include <cmath>
#include <cstdint>
#include <cstring>

#include "base/half.h"

#define LANES lanes_portable
#define LANES_FN [[maybe_unused]] __attribute__((noinline))
#define LANES_INLINE [[maybe_unused]] inline __attribute__((always_inline))
#define LANES_LAMBDA __attribute__((always_inline))

namespace lissom::lanes_portable {

typedef float F4 __attribute__((vector_size(16)));
typedef int32_t I4 __attribute__((vector_size(16)));

struct F {
  F4 v[4];
};
struct Mask {
  I4 v[4];
};

#define LISSOM_LANEWISE(type, expression)            \
  type r;                                            \
  for (int i = 0; i < 4; ++i) r.v[i] = (expression); \
  return r
LANES_INLINE F set(float x) {
  LISSOM_LANEWISE(F, (F4{x, x, x, x}));
}
LANES_INLINE F load(const float* p) {
  F r;
  std::memcpy(&r, p, sizeof r);
  return r;
}
LANES_INLINE void store(float* p, F a) {
  std::memcpy(p, &a, sizeof a);
}
LANES_INLINE F operator+(F a, F b) {
  LISSOM_LANEWISE(F, a.v[i] + b.v[i]);
}
LANES_INLINE F operator-(F a, F b) {
  LISSOM_LANEWISE(F, a.v[i] - b.v[i]);
}
LANES_INLINE F operator*(F a, F b) {
  LISSOM_LANEWISE(F, a.v[i] * b.v[i]);
}
LANES_INLINE F operator/(F a, F b) {
  LISSOM_LANEWISE(F, a.v[i] / b.v[i]);
}
LANES_INLINE Mask operator>(F a, F b) {
  LISSOM_LANEWISE(Mask, (I4)(a.v[i] > b.v[i]));
}
LANES_INLINE Mask operator<(F a, F b) {
  LISSOM_LANEWISE(Mask, (I4)(a.v[i] < b.v[i]));
}
LANES_INLINE F select(Mask m, F yes, F no) {
  LISSOM_LANEWISE(F, (F4)((m.v[i] & (I4)yes.v[i]) | (~m.v[i] & (I4)no.v[i])));
}
LANES_INLINE F min(F a, F b) {
  return select(a < b, a, b);
}
LANES_INLINE F max(F a, F b) {
  return select(a > b, a, b);
}
LANES_INLINE F abs(F a) {
  LISSOM_LANEWISE(F, (F4)((I4)a.v[i] & 0x7fffffff));
}
/// To the nearest integer, ties to even, keeping the sign of zero; |a| < 2^22.
LANES_INLINE F round(F a) {
  const F big = set(0x1p23F), whole = abs(a) + big - big;
  LISSOM_LANEWISE(F, (F4)((I4)whole.v[i] | ((I4)a.v[i] & INT32_MIN)));
}
#undef LISSOM_LANEWISE
/// To the nearest f16 and back.
LANES_FN static F to_half_and_back(F a) {
  float x[16];
  store(x, a);
  for (float& value : x) value = half_to_float(float_to_half(value));
  return load(x);
}
/// table[trunc(index)] for 0 ≤ index < 32.
LANES_FN static F lookup32(const float* table, F index) {
  float x[16];
  store(x, index);
  for (float& value : x) value = table[static_cast<int>(value)];
  return load(x);
}
/// Sixteen numbers: places in tables, and words of four-bit digits.
struct U {
  uint32_t v[16];
};
LANES_INLINE U set_index(uint32_t x) {
  U r;
  for (uint32_t& value : r.v) value = x;
  return r;
}
LANES_INLINE U to_index(F a) {
  float x[16];
  store(x, a);
  U r;
  for (int i = 0; i < 16; ++i) r.v[i] = static_cast<uint32_t>(x[i]);
  return r;
}
LANES_INLINE U gather(const uint32_t* table, const U& index) {
  U r;
  for (int i = 0; i < 16; ++i) r.v[i] = table[index.v[i]];
  return r;
}
LANES_INLINE U operator+(const U& a, const U& b) {
  U r;
  for (int i = 0; i < 16; ++i) r.v[i] = a.v[i] + b.v[i];
  return r;
}
LANES_INLINE U next_digit(const U& a) {
  U r;
  for (int i = 0; i < 16; ++i) r.v[i] = a.v[i] >> 4;
  return r;
}
LANES_INLINE U select(Mask m, const U& yes, const U& no) {
  U r;
  for (int i = 0; i < 16; ++i) r.v[i] = m.v[i / 4][i % 4] != 0 ? yes.v[i] : no.v[i];
  return r;
}
LANES_INLINE void store(uint32_t* p, const U& a) {
  std::memcpy(p, a.v, sizeof a.v);
}
struct Table8 {
  float v[8];
};
LANES_INLINE Table8 load_table8(const float* p) {
  Table8 r;
  std::memcpy(r.v, p, sizeof r.v);
  return r;
}
/// table[lowest digit]; digits are below 8.
LANES_INLINE F lookup8(const Table8& table, const U& a) {
  float x[16];
  for (int i = 0; i < 16; ++i) x[i] = table.v[a.v[i] & 7U];
  return load(x);
}
LANES_FN static void store_half(uint16_t* p, F a) {
  float x[16];
  store(x, a);
  for (int i = 0; i < 16; ++i) p[i] = float_to_half(x[i]);
}
LANES_FN static void store_int8(int8_t* p, F a) {
  float x[16];
  store(x, a);
  for (int i = 0; i < 16; ++i) p[i] = static_cast<int8_t>(x[i]);
}
/// out[16·k + lane] = in[lane][c + k] for k < 8 and eight lanes.
LANES_FN static void transpose8(const float* const* in, int c, float* out) {
  for (int lane = 0; lane < 8; ++lane)
    for (int k = 0; k < 8; ++k) out[k * 16 + lane] = in[lane][c + k];
}

}  // namespace lissom::lanes_portable
