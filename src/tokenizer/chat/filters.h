#pragma once
// What the files of filters share. Included by .cpp files only.

#include <span>
#include <vector>

#include "tokenizer/chat/interpreter.h"

namespace lissom::chat {

/// A sequence that is read once.
[[nodiscard]] Result<Value> generator(std::vector<Value> items, Interpreter& in);
/// What an attribute named "a.b.0" gives of a value; `fallback` where it gives
/// nothing, unless null.
[[nodiscard]] Result<Value> by_path(Interpreter& in, const Value& v, const Value& path, const Value* fallback);

[[nodiscard]] std::span<const Named> number_filters();  ///< int, float, round, abs, sum
[[nodiscard]] std::span<const Named> order_filters();   ///< sort, dictsort, unique, min, max, reverse, batch

}  // namespace lissom::chat
