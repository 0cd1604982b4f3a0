#pragma once
// Oniguruma patterns, as tokenizer.json writes them, over well-formed UTF-8.

#include <memory>
#include <string>
#include <string_view>

#include "lissom/result.h"
#include "tokenizer/function_ref.h"

namespace lissom::tok {

/// A compiled pattern. \p{…} of general categories means the Unicode version that `tokenizers` has (see
/// unicode.h). Searching is bounded: where a match would backtrack more than ten million times, the search ends
/// as if nothing more matched, so that a hostile pattern cannot hang. May be used from several threads.
class Regex {
 public:
  [[nodiscard]] static Result<std::shared_ptr<const Regex>> compile(const std::string& pattern);
  ~Regex();
  Regex(const Regex&) = delete;
  Regex& operator=(const Regex&) = delete;

  /// Calls found(begin, end) for each match from left to right. An empty match directly behind the previous
  /// match is left out.
  void find_all(std::string_view text, FunctionRef<void(size_t, size_t)> found) const;

 private:
  Regex() = default;
  void* compiled_ = nullptr;
};

}  // namespace lissom::tok
