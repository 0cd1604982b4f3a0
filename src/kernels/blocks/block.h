#pragma once
// What a kernel must know of a codec's block: how to take it apart. Everything else about integer codes (panel
// layout, unpacking, dot products, on every target) follows from the few constants of a description; see
// blocks/q4_0.h for the smallest one. A description has
//   name, kWeights, kBytes       the codec's name; weights and bytes of its block
//   kBits                        bits of a code: 2, 3, 4, 5, 6 or 8
//   kZeroShift                   ŵ = scale·(code - 2^kZeroShift) + offset; -1: no zero point
//   kSub                         weights that share a scale: 16 or 32
//   kOffset                      blocks have offsets
//   kSuper                       scale = d·sub_scale, offset = -(m·sub_min); else scale = d, offset = m, and
//                                where kSub is 16 scale = sub_d
//   kTable                       null, or 16 values + 128 that codes of up to 4 bits stand for (then kZeroShift
//                                is 7)
//   unpack(block, out)
// and may have
//   kBf16                        d is bf16, not f16
//   kFactor                      of super-blocks: a power of two that d is still to be multiplied by
//   Kernel                       another description with the same constants above, whose code serves this one

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "base/bits.h"

namespace lissom::kernels {

struct UnpackedBlock {
  uint8_t codes[256];
  uint16_t d, m;      ///< f16 bits
  uint16_t sub_d[4];  ///< f16 bits
  int8_t sub_scale[16];
  uint8_t sub_min[16];
};

template <class Format>
constexpr bool bf16_scale() {
  if constexpr (requires { Format::kBf16; }) return Format::kBf16;
  return false;
}
template <class Format>
constexpr float scale_factor() {
  if constexpr (requires { Format::kFactor; })
    return Format::kFactor;
  else
    return 1.0F;
}
/// What panels become for a prompt (docs/kernels.md), no codec's blocks: codes of 8 bits with an F32 scale for
/// each 32 weights, and what types of super-blocks become: for all of their 256.
struct WideBlock {
  static constexpr int kBits = 8, kZeroShift = 7, kSub = 32;
  static constexpr bool kOffset = false, kSuper = false;
  static constexpr bool kF32Scale = true;  ///< d is F32
  static constexpr const uint8_t* kTable = nullptr;
};
struct WideSuperBlock : WideBlock {
  static constexpr int kSub = 256;
  static constexpr bool kSuper = true;
};
template <class Format>
using WideOf = std::conditional_t<Format::kSuper, WideSuperBlock, WideBlock>;
template <class Format>
constexpr bool f32_scale() {
  return requires {
    Format::kF32Scale;
  };
}

template <class Format>
struct KernelOf {
  using type = Format;
};
template <class Format>
requires requires {
  typename Format::Kernel;
}
struct KernelOf<Format> {
  using type = typename Format::Kernel;
};

template <class... T>
struct FormatList {
  static constexpr int kSize = sizeof...(T);
};

namespace blocks {
inline uint16_t half_at(const uint8_t* p) {
  uint16_t h;
  std::memcpy(&h, p, 2);
  return h;
}
/// 16 bytes hold 32 4-bit codes: the low halves are the first 16 weights, the high halves the last 16.
inline void nibbles(const uint8_t* qs, uint8_t* codes) {
  for (int i = 0; i < 16; ++i) {
    codes[i] = qs[i] & 15;
    codes[i + 16] = qs[i] >> 4;
  }
}
/// Adds bit i of a 32-bit mask to code i, at the given position.
inline void add_bits(const uint8_t* mask, int position, uint8_t* codes) {
  for (int i = 0; i < 4; ++i) {
    uint64_t eight;
    std::memcpy(&eight, codes + 8 * i, 8);
    eight |= bytes_of_bits(mask[i]) << position;
    std::memcpy(codes + 8 * i, &eight, 8);
  }
}
/// n codes: `width` bits of each of n bytes, from bit `first` on.
inline void fields(const uint8_t* p, int n, int first, int width, uint8_t* codes) {
  for (int i = 0; i < n; ++i) codes[i] = static_cast<uint8_t>(p[i] >> first & ((1 << width) - 1));
}
/// The same as further bits of codes, at the given position.
inline void add_fields(const uint8_t* p, int n, int first, int width, int position, uint8_t* codes) {
  for (int i = 0; i < n; ++i)
    codes[i] = static_cast<uint8_t>(codes[i] | (p[i] >> first & ((1 << width) - 1)) << position);
}
/// 64 weights to each 32 bytes of nibbles: the low halves are the first 32.
inline void nibbles_of_64(const uint8_t* qs, uint8_t* codes) {
  for (int i = 0; i < 4; ++i) {
    fields(qs + 32 * i, 32, 0, 4, codes + 64 * i);
    fields(qs + 32 * i, 32, 4, 4, codes + 64 * i + 32);
  }
}
/// 128 weights to each 32 bytes of 2-bit codes, 32 in each place of the bytes.
inline void pairs_of_128(const uint8_t* qs, uint8_t* codes) {
  for (int i = 0; i < 8; ++i) fields(qs + i / 4 * 32, 32, 2 * (i % 4), 2, codes + 32 * i);
}
/// Eight 6-bit scales and eight 6-bit minima in 12 bytes, as Q4_K and Q5_K hold them.
inline void scales_and_minima(const uint8_t* s, UnpackedBlock& out) {
  for (int i = 0; i < 4; ++i) {
    out.sub_scale[i] = static_cast<int8_t>(s[i] & 63);
    out.sub_min[i] = s[i + 4] & 63;
    out.sub_scale[i + 4] = static_cast<int8_t>((s[i + 8] & 15) | (s[i] >> 6 << 4));
    out.sub_min[i + 4] = static_cast<uint8_t>((s[i + 8] >> 4) | (s[i + 4] >> 6 << 4));
  }
}
/// The values of IQ4_NL and IQ4_XS, plus 128.
inline constexpr uint8_t kIq4Values[16] = {1,   24,  45,  63,  79,  93,  106, 118,
                                           129, 141, 153, 166, 181, 197, 217, 241};
/// The values of four-bit floats, doubled, plus 128.
inline constexpr uint8_t kE2m1Values[16] = {128, 129, 130, 131, 132, 134, 136, 140,
                                            128, 127, 126, 125, 124, 122, 120, 116};
}  // namespace blocks
}  // namespace lissom::kernels
