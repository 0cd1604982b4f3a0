#pragma once
// Whether calibration has seen the text that a model is judged on.

#include <cstdint>
#include <span>

namespace lissom {

/// Share, 0 … 1, of the runs of `length` tokens of `evaluation` that also occur in `calibration`. 13 tokens is
/// the customary length of contamination checks: shorter runs recur in unrelated text. 0 where `evaluation`
/// is shorter than one run.
[[nodiscard]] double shared_runs(std::span<const int32_t> evaluation, std::span<const int32_t> calibration,
                                 int64_t length = 13);

}  // namespace lissom
