#pragma once
// Small helpers for text from untrusted files.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace lissom {

/// Well-formed UTF-8: no overlong forms, no surrogates, nothing past U+10FFFF.
[[nodiscard]] bool valid_utf8(std::string_view text);

/// The text for a terminal: control characters and malformed bytes escaped as \xNN, "…" for what is past
/// `limit` bytes.
[[nodiscard]] std::string printable(std::string_view text, size_t limit = SIZE_MAX);

/// 'text' in single quotes for a message: control characters and malformed bytes escaped as \xNN, cut at 100
/// bytes.
[[nodiscard]] std::string in_quotes(std::string_view text);

}  // namespace lissom
