#pragma once
// A regular expression over tensor names. The expression may come from a stranger's scheme, so a search that
// backtracks without end is cut off and reported instead of run.

#include <memory>
#include <string>
#include <string_view>

#include "lissom/result.h"

namespace lissom {

class Pattern {
 public:
  [[nodiscard]] static Result<Pattern> compile(const std::string& expression);
  [[nodiscard]] Result<bool> found_in(std::string_view text) const;

 private:
  struct Compiled;
  std::shared_ptr<const Compiled> compiled_;
};

}  // namespace lissom
