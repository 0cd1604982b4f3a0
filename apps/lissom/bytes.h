#pragma once
// Sizes as people write them.

#include <cstdint>
#include <string>

#include "lissom/result.h"

namespace lissom::cli {

/// "80MB", "1.5 GB", "300000": bytes, in powers of 1000 as `ls --si` counts, of 1024 with an i ("GiB"). `flag`
/// names it in errors.
[[nodiscard]] Result<uint64_t> parse_bytes(const std::string& flag, const std::string& text);

}  // namespace lissom::cli
