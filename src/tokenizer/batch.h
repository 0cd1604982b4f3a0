#pragma once
// Truncation and padding as tokenizer.json gives them. Included by .cpp files only.

#include <cstdint>
#include <string>
#include <vector>

#include "format/json.h"
#include "lissom/result.h"
#include "lissom/tokenizer.h"

namespace lissom::tok {

struct Truncation {
  enum class Strategy { longest_first, only_first, only_second };
  bool on = false, left = false;
  int64_t max_length = 0;  ///< special tokens included
  Strategy strategy = Strategy::longest_first;
};
struct Padding {
  bool on = false, left = false;
  int64_t fixed = 0;     ///< length; 0: that of the longest of the batch
  int64_t multiple = 0;  ///< rounded up to a multiple of this; 0: not
  int32_t id = 0, type_id = 0;
};

/// {"direction", "max_length", "strategy", "stride"}, or null. The stride is of overflowing parts, which are
/// dropped here.
[[nodiscard]] Result<Truncation> read_truncation(const Json& json, const std::string& where);
/// {"strategy", "direction", "pad_to_multiple_of", "pad_id", "pad_type_id", "pad_token"}, or null. Refuses
/// lengths beyond 1,048,576.
[[nodiscard]] Result<Padding> read_padding(const Json& json, const std::string& where);

/// One or two sequences cut so that they and `added` special tokens fit; fails where the strategy cannot do it.
[[nodiscard]] Result<void> truncate(std::vector<Encoding>& sequences, const Truncation& t, int64_t added);
void pad(std::vector<PaddedEncoding>& batch, const Padding& p);

}  // namespace lissom::tok
