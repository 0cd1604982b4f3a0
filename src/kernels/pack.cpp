#include "kernels/pack.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/half.h"

namespace lissom::kernels {

namespace {

uint32_t word_at(const uint8_t* p) {
  uint32_t w;
  std::memcpy(&w, p, 4);
  return w;
}
/// Some bits of each code of a group: 8 / width steps of four codes together make a word of a lane.
struct Plane {
  int64_t at;      ///< bytes from the group's start
  int bit, width;  ///< the lowest of the codes' bits, how many
};
/// Bits 0-3 (or 0-1, or all 8), then what is above.
template <int Bits>
constexpr std::array<Plane, Bits == 2 || Bits == 4 || Bits == 8 ? 1 : 2> planes() {
  if constexpr (Bits == 3)
    return {{{0, 0, 2}, {128, 2, 1}}};
  else if constexpr (Bits == 5 || Bits == 6)
    return {{{0, 0, 4}, {256, 4, Bits - 4}}};
  else
    return {{{0, 0, Bits}}};
}

/// steps: a group's codes, a byte each, [8 steps of four][lane].
template <int Bits>
void put_codes(const uint32_t (&steps)[8][kPanelRows], uint8_t* group) {
  for (const Plane& plane : planes<Bits>()) {
    const int together = 8 / plane.width;
    const uint32_t mask = ((1U << plane.width) - 1U) * 0x01010101U;
    for (int i = 0; i < plane.width; ++i) {
      uint32_t words[kPanelRows] = {};
      for (int j = 0; j < together; ++j) {
        for (int64_t lane = 0; lane < kPanelRows; ++lane)
          words[lane] |= (steps[i * together + j][lane] >> plane.bit & mask) << (j * plane.width);
      }
      std::memcpy(group + plane.at + 64 * i, words, sizeof words);
    }
  }
}
template <int Bits>
uint32_t get_codes(const uint8_t* group, int step, int64_t lane) {
  const uint8_t* at = group + 4 * lane;
  uint32_t codes = 0;
  if constexpr (Bits == 8) codes = word_at(at + step * 64);
  if constexpr (Bits >= 4 && Bits < 8) codes = word_at(at + step / 2 * 64) >> (step % 2 * 4) & 0x0f0f0f0fU;
  if constexpr (Bits < 4) codes = word_at(at + step / 4 * 64) >> (step % 4 * 2) & 0x03030303U;
  if constexpr (Bits == 3) codes |= (word_at(at + 128) >> step & 0x01010101U) << 2;
  if constexpr (Bits == 5) codes |= (word_at(at + 256) >> step & 0x01010101U) << 4;
  if constexpr (Bits == 6) codes |= (word_at(at + 256 + step / 4 * 64) >> (step % 4 * 2) & 0x03030303U) << 4;
  return codes;
}

/// Each sub-block has a 16-bit scale of its own.
template <class Format>
constexpr bool kSubScales = !Format::kSuper && Format::kSub == 16;

/// Where a group of 32 columns lies in its panel.
template <class Format>
struct GroupPlace {
  using Layout = PanelLayout<Format>;
  int64_t in_chunk;          ///< number of the group in its chunk
  int64_t d, m, sub, codes;  ///< bytes from the panel's start: see PanelLayout

  explicit GroupPlace(int64_t group) : in_chunk(group % Layout::kChunkGroups) {
    const int64_t chunk = group / Layout::kChunkGroups * Layout::kChunkBytes;
    d = chunk + (Format::kSuper ? 0 : 32 * Layout::kSubs * in_chunk);
    m = d + (Format::kSuper ? 32 : 64);
    sub = chunk + 32 * Layout::kFields + in_chunk * Layout::kSubs * 16 * Layout::kFields;
    codes = chunk + Layout::kParamBytes + in_chunk * Layout::kCodeBytes;
  }
};

template <class Format>
void put_scales(const UnpackedBlock& block, int g, int64_t lane, const GroupPlace<Format>& at, uint8_t* panel) {
  using Layout = PanelLayout<Format>;
  if constexpr (kSubScales<Format>) {
    for (int s = 0; s < 2; ++s) std::memcpy(panel + at.d + 32 * s + 2 * lane, &block.sub_d[2 * g + s], 2);
  } else {
    std::memcpy(panel + at.d + 2 * lane, &block.d, 2);
  }
  if constexpr (Format::kOffset) std::memcpy(panel + at.m + 2 * lane, &block.m, 2);
  for (int64_t s = 0; Format::kSuper && s < Layout::kSubs; ++s) {
    uint8_t* sub = panel + at.sub + s * 16 * Layout::kFields + lane;
    const int64_t i = g * Layout::kSubs + s;
    *sub = static_cast<uint8_t>(block.sub_scale[i]);
    if constexpr (Format::kOffset) sub[16] = block.sub_min[i];
  }
}

template <class Format>
void pack_panel(const std::byte* rows, int64_t row_bytes, int64_t n_rows, int64_t cols, uint8_t* panel) {
  constexpr int kGroups = Format::kWeights / 32;
  const auto* src = reinterpret_cast<const uint8_t*>(rows);
  uint32_t steps[kGroups][8][kPanelRows] = {};
  UnpackedBlock block;
  for (int64_t b = 0; b < cols / Format::kWeights; ++b, src += Format::kBytes) {
    for (int64_t lane = 0; lane < n_rows; ++lane) {
      Format::unpack(src + lane * row_bytes, block);
      for (int g = 0; g < kGroups; ++g) {
        put_scales<Format>(block, g, lane, GroupPlace<Format>(b * kGroups + g), panel);
        for (int step = 0; step < 8; ++step) steps[g][step][lane] = word_at(block.codes + 32 * g + 4 * step);
      }
    }
    for (int g = 0; g < kGroups; ++g)
      put_codes<Format::kBits>(steps[g], panel + GroupPlace<Format>(b * kGroups + g).codes);
  }
}

template <class Format>
void unpack_row(const uint8_t* panel, int64_t lane, int64_t cols, float* out) {
  using Layout = PanelLayout<Format>;
  constexpr int kZero = Format::kZeroShift < 0 ? 0 : 1 << std::max(Format::kZeroShift, 0);
  for (int64_t g = 0; g < cols / 32; ++g) {
    const GroupPlace<Format> at(g);
    const uint8_t* scales = panel + at.d + 2 * lane;
    const auto scale_at = [](const uint8_t* p) {
      const uint16_t bits = blocks::half_at(p);
      return scale_factor<Format>() * (bf16_scale<Format>() ? bf16_to_float(bits) : half_to_float(bits));
    };
    const float d = scale_at(scales);
    float m = 0.0F;
    if constexpr (Format::kOffset) m = half_to_float(blocks::half_at(panel + at.m + 2 * lane));
    for (int step = 0; step < 8; ++step) {
      float scale = d, offset = m;
      if constexpr (kSubScales<Format>) scale = scale_at(scales + step / 4 * 32);
      if constexpr (Format::kSuper) {
        const uint8_t* s = panel + at.sub + step * 4 / Format::kSub * 16 * Layout::kFields + lane;
        scale = d * static_cast<float>(static_cast<int8_t>(*s));
        if constexpr (Format::kOffset) offset = -(m * static_cast<float>(s[16]));
      }
      const uint32_t codes = get_codes<Format::kBits>(panel + at.codes, step, lane);
      for (int c = 0; c < 4; ++c) {
        int code = static_cast<int>(codes >> (8 * c) & 255U);
        if constexpr (Format::kTable != nullptr) code = Format::kTable[code];
        const float v = scale * static_cast<float>(code - kZero);
        *out++ = Format::kOffset ? v + offset : v;
      }
    }
  }
}

template <class... Formats>
constexpr std::array<BlockPacker, sizeof...(Formats)> make_packers(FormatList<Formats...>) {
  return {BlockPacker{Formats::kName, Formats::kWeights, Formats::kBytes, &PanelLayout<Formats>::bytes,
                      &pack_panel<Formats>, &unpack_row<Formats>}...};
}

}  // namespace

std::span<const BlockPacker> block_packers() {
  static constexpr auto kPackers = make_packers(BlockFormats{});
  return kPackers;
}

}  // namespace lissom::kernels
