#pragma once
// The fixed parts of report.html: its style and the script that sorts the tables.

#include <string_view>

namespace lissom {
extern const std::string_view kPageStyle;
extern const std::string_view kPageScript;
}  // namespace lissom
