#pragma once
// Bytes as hexadecimal text.

#include <string>
#include <string_view>

namespace lissom {

/// Two lowercase digits for each byte.
[[nodiscard]] std::string to_hex(std::string_view bytes);
/// Appends to `bytes`. False where the text is not of pairs of lowercase digits; then some may have been
/// appended.
[[nodiscard]] bool from_hex(std::string_view hex, std::string& bytes);

}  // namespace lissom
