#pragma once
// Error feedback where a tensor's Hessian is there as a whole, as packs have it: into blocks by their grids,
// and into codecs that round a column at a time (codec/feedback.h).

#include <cstddef>
#include <span>
#include <vector>

#include "lissom/codec.h"
#include "lissom/compress.h"

namespace lissom {

/// Whether the entry's codec can hand errors on, and loses enough for that to be of use.
[[nodiscard]] bool takes_feedback(const PlanEntry& entry);

/// Encodes finite weights (rows × cols) of an entry that takes feedback into the codec's components.
/// `importance`: cols values or none, for the search of a codec of blocks, whose rows are that where it loses
/// less. `hessian`: cols × cols, symmetric. False, with nothing done, where the Hessian is of no use: zero, or
/// not finite.
[[nodiscard]] bool encode_with_feedback(const PlanEntry& entry, std::span<const float> weights,
                                        std::span<const float> importance, std::span<const float> hessian,
                                        std::vector<std::vector<std::byte>>& parts);

}  // namespace lissom
