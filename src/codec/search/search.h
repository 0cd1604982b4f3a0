#pragma once
// The search for a block's parameters: minimises Σ importance·(w-ŵ)² on the grid as the file stores it (f16
// scales, four- to eight-bit sub-scales). Sixteen sub-blocks are searched at a time, one in each SIMD lane, so
// that every instruction set computes the same bits. docs/codecs.md says how it goes; the plan below says how
// far.

#include <cstdint>
#include <span>

#include "base/cpu.h"
#include "codec/grid.h"

namespace lissom {

/// The search and the rounding, compiled for one instruction set.
struct SearchTarget {
  Target target;
  /// Parameters of n_blocks consecutive blocks. v: normalise_importance()'s result for v_blocks blocks, used
  /// cyclically, or null for 1.
  void (*search)(const GridSpec& spec, const SearchPlan& plan, const float* w, const float* v, int64_t v_blocks,
                 int64_t n_blocks, GridParams* params);
  /// Nearest codes of whole consecutive blocks with these parameters.
  void (*round_blocks)(const GridSpec& spec, const GridParams* params, int64_t n_blocks, const float* w,
                       int8_t* codes);
  /// Nearest codes of `count` ≤ sub weights of one sub-block.
  void (*round)(const GridSpec& spec, float scale, float offset, int count, const float* w, int8_t* codes);
};

[[nodiscard]] SearchTarget portable_search_target();
[[nodiscard]] SearchTarget avx2_search_target();
[[nodiscard]] SearchTarget avx512_search_target();
[[nodiscard]] SearchTarget neon_search_target();

/// Those of supported_targets(), in its order.
[[nodiscard]] std::span<const SearchTarget> search_targets();
/// That of active_target(); the first where that is an error, which encode_checked and the program report.
[[nodiscard]] const SearchTarget& active_search_target();

/// Brings each block's importances to at most 1. Where all of a sub-block (or of a block) are zero, any values
/// would do: they get equal ones, far below the others, so that the sub-block still comes out sensibly.
void normalise_importance(const GridSpec& spec, const float* importance, int64_t blocks, float* out);

}  // namespace lissom
