#pragma once
// JSON from untrusted files: nlohmann-json behind limits on size and depth, with errors that name file and
// field. Included by .cpp files only, since the library is slow to compile.

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "lissom/result.h"

namespace lissom {

using Json = nlohmann::json;

/// Refuses nesting deeper than 64, more than ten million values, duplicate keys, and trailing text.
[[nodiscard]] Result<Json> parse_json(std::string_view text, const std::string& origin);
[[nodiscard]] Result<Json> read_json(const std::filesystem::path& path, uint64_t limit = 64U << 20);

}  // namespace lissom
