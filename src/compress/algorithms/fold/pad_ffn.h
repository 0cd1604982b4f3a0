#pragma once
// Feed-forward layers widened by neurons of zeros, so that codecs of wide blocks fit their rows.

#include <cstdint>

#include "lissom/compress.h"
#include "lissom/model.h"
#include "lissom/result.h"

namespace lissom {

/// The block of K- and IQ-quants.
inline constexpr int64_t kWideBlock = 256;

/// Whether FFN matrices whose rows do not fill blocks of kWideBlock would grow by no more than a sixteenth to
/// do so.
[[nodiscard]] bool pads_cheaply(const Config& config);

/// The same model with Config::ff rounded up to a multiple: what makes neurons (gate, up and their biases) has
/// rows of zeros more, behind each matrix where several lie in one, and what reads them has columns of zeros
/// more, so that every output is what it was. Tensors keep their types and are made when they are read. Errors
/// (unsupported): experts; a quantized tensor; an FFN that other shapes hang on.
[[nodiscard]] Result<Checkpoint> pad_ffn(const Checkpoint& checkpoint, int64_t multiple);

/// Statistics of the model as it was, with an FFN of `ff`: zeros for the neurons that are new.
void pad_importance(const Checkpoint& padded, int64_t ff, Importance& importance);

}  // namespace lissom
