#pragma once
// The search of the codebook types, compiled for one instruction set. Sixteen sub-blocks (or, for rounding,
// sixteen times eight weights) are worked on at once, one in each lane, as in codec/search. docs/codecs.md says
// how it goes.

#include <cstdint>
#include <span>

#include "base/cpu.h"
#include "codec/codebook/codebook.h"

namespace lissom {

struct CodebookTarget {
  Target target;
  /// Parameters of consecutive blocks. v: importances of v_blocks blocks, used cyclically, at most 1 and not
  /// all 0 in a sub-block; or null for 1.
  void (*search)(const CodebookSpec& spec, const Codebook& book, const float* w, const float* v,
                 int64_t v_blocks, int64_t n_blocks, CodebookParams* params);
  /// The nearest codes of `octets` times eight weights, each with a scale and a shift (0, or 1 for -1/8) of its
  /// own. v: as many importances as weights.
  void (*round)(const CodebookSpec& spec, const Codebook& book, int octets, const float* scale,
                const uint8_t* shift, const float* w, const float* v, int8_t* codes);
};

[[nodiscard]] CodebookTarget portable_codebook_target();
[[nodiscard]] CodebookTarget avx2_codebook_target();
[[nodiscard]] CodebookTarget avx512_codebook_target();
[[nodiscard]] CodebookTarget neon_codebook_target();
/// Those that this machine runs, best first.
[[nodiscard]] std::span<const CodebookTarget> codebook_targets();
/// That of base's active_target().
[[nodiscard]] const CodebookTarget& active_codebook_target();

}  // namespace lissom
