#pragma once
// SentencePiece's precompiled character map: a darts double array (Yata et al.; 32-bit units) from UTF-8
// prefixes to offsets into a blob of NUL-terminated replacements. From outside, so every step is checked.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lissom/result.h"

namespace lissom::tok {

class Charsmap {
 public:
  /// Layout: u32 LE byte count of the double array, its units (u32 LE), the blob (UTF-8). Refuses replacements
  /// longer than 1,024 bytes: a short text must not grow without bound.
  [[nodiscard]] static Result<Charsmap> parse(std::string_view bytes);

  struct Match {
    size_t length;  ///< bytes of the text
    std::string_view replacement;
  };
  [[nodiscard]] std::optional<Match> shortest(std::string_view text) const { return search(text, true); }
  [[nodiscard]] std::optional<Match> longest(std::string_view text) const { return search(text, false); }

 private:
  [[nodiscard]] std::optional<Match> search(std::string_view text, bool first) const;
  std::vector<uint32_t> units_;
  std::string blob_;
};

/// The bytes of standard base64 (RFC 4648, padding required).
[[nodiscard]] std::optional<std::string> from_base64(std::string_view text);
[[nodiscard]] std::string to_base64(std::string_view bytes);

}  // namespace lissom::tok
