#pragma once
// Text that arrives as bytes of tokens, which need not end where a character does.

#include <string>
#include <string_view>

namespace lissom {

class Utf8Stream {
 public:
  /// The characters completed by these bytes. Ill-formed bytes become U+FFFD, one for each maximal ill-formed
  /// part.
  [[nodiscard]] std::string push(std::string_view bytes);
  /// What is left at the end: U+FFFD for a character that never became whole.
  [[nodiscard]] std::string finish();

 private:
  std::string held_;
};

}  // namespace lissom
