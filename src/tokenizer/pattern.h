#pragma once
// {"String": "…"} or {"Regex": "…"}: what Split and Replace look for. Included by .cpp files only.

#include <functional>
#include <string>
#include <string_view>

#include "format/json.h"
#include "lissom/result.h"
#include "tokenizer/fields.h"
#include "tokenizer/function_ref.h"
#include "tokenizer/split_patterns.h"

namespace lissom::tok {

struct Pattern {
  /// Calls found(begin, end) for each match, left to right, without overlap.
  std::function<void(std::string_view text, FunctionRef<void(size_t, size_t)> found)> find_all;
  Splitter known = nullptr;  ///< where the pattern is one that is matched by hand: it covers any text
};

[[nodiscard]] Result<Pattern> make_pattern(const Fields& fields, std::string_view field);

}  // namespace lissom::tok
