#pragma once
// Text files for evaluation and calibration.

#include <cstdint>
#include <filesystem>
#include <string>

#include "lissom/result.h"

namespace lissom {

inline constexpr uint64_t kTextLimit = uint64_t{1} << 30;

/// The whole file, checked to be UTF-8 and to hold something but white space; a byte-order mark is dropped.
[[nodiscard]] Result<std::string> read_text(const std::filesystem::path& path, uint64_t limit = kTextLimit);

}  // namespace lissom
