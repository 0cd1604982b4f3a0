#pragma once
// Blocks of the vector codebooks, taken apart by their codec into signed levels and multiples 2s + 1 of d.
#include <array>

#include "codec/builtin.h"
#include "codec/codebook/codebook.h"
#include "kernels/blocks/block.h"

namespace lissom::kernels::blocks {

/// Levels plus 128 of the types of a kind, for panels' codes.
inline constexpr uint8_t kIq1Values[16] = {119, 121, 127, 129, 135, 137};
inline constexpr uint8_t kIq2Values[16] = {85, 103, 120, 136, 153, 171};
inline constexpr uint8_t kIq3XxsValues[16] = {66,  76,  84,  92,  100, 108, 116, 124,
                                              132, 140, 148, 156, 164, 172, 180, 190};
inline constexpr uint8_t kIq3SValues[16] = {113, 115, 117, 119, 121, 123, 125, 127,
                                            129, 131, 133, 135, 137, 139, 141, 143};

template <class Format>
void unpack_codebook(const BlockCodec& codec, const uint8_t* p, UnpackedBlock& out) {
  static constexpr auto kCodeOf = [] {
    std::array<uint8_t, 256> codes{};
    for (unsigned i = 0; i < 16; ++i)
      if (Format::kTable[i] != 0) codes[Format::kTable[i]] = static_cast<uint8_t>(i);
    return codes;
  }();
  BlockGrid grid;
  int8_t levels[256];
  codec.unpack(reinterpret_cast<const std::byte*>(p), grid, levels);
  CodebookParams params;
  std::memcpy(&params, grid.stored.data(), sizeof params);
  out.d = params.d;
  for (int j = 0; j < 256 / Format::kSub; ++j) out.sub_scale[j] = static_cast<int8_t>(2 * params.s[j] + 1);
  for (int i = 0; i < 256; ++i) out.codes[i] = kCodeOf[static_cast<size_t>(levels[i] + 128)];
}

}  // namespace lissom::kernels::blocks
