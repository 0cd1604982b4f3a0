#pragma once
// The nearest of IQ4's sixteen levels in constant time: t falls into one of 32 buckets of width 8 from -128,
// none of which holds more than one midpoint between levels.

#include <array>
#include <limits>

#include "codec/iq4_nl/iq4_nl.h"

namespace lissom {

struct LevelTable {
  /// By bucket: the midpoint in it (infinity where there is none), and the code and level of what lies below
  /// and above.
  std::array<float, 32> midpoint{}, low_code{}, high_code{}, low_level{}, high_level{};
};

constexpr LevelTable make_level_table(const int8_t* levels) {
  LevelTable table;
  for (int b = 0; b < 32; ++b) {
    const float start = static_cast<float>(8 * b - 128);
    int code = 0;
    const auto middle = [&](int i) { return 0.5F * static_cast<float>(levels[i] + levels[i + 1]); };
    while (code < 15 && start > middle(code)) ++code;
    const auto at = static_cast<std::size_t>(b);
    const bool has_middle = code < 15 && middle(code) < start + 8;
    const int above = has_middle ? code + 1 : code;
    table.midpoint[at] = has_middle ? middle(code) : std::numeric_limits<float>::infinity();
    table.low_code[at] = static_cast<float>(code);
    table.high_code[at] = static_cast<float>(above);
    table.low_level[at] = static_cast<float>(levels[code]);
    table.high_level[at] = static_cast<float>(levels[above]);
  }
  return table;
}

inline constexpr LevelTable kIQ4Table = make_level_table(kIQ4Levels);

}  // namespace lissom
