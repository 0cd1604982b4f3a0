#include "bytes.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>

namespace lissom::cli {

Result<uint64_t> parse_bytes(const std::string& flag, const std::string& text) {
  double value = 0;
  const char* const end = text.data() + text.size();
  const auto [unit, error] = std::from_chars(text.data(), end, value);
  const std::string suffix(std::find_if(unit, end, [](char c) { return c != ' '; }), end);
  double scale = suffix.empty() || suffix == "B" ? 1 : 0;
  const double base = suffix.size() == 3 && suffix[1] == 'i' ? 1024 : 1000;
  if (suffix.size() >= 2 && suffix.back() == 'B') {
    const size_t power = std::string("KMGT").find(static_cast<char>(std::toupper(suffix[0])));
    if (power != std::string::npos && (suffix.size() == 2 || base == 1024))
      scale = std::pow(base, static_cast<double>(power + 1));
  }
  if (error != std::errc() || scale == 0 || !(value > 0) || value * scale > 1e18)
    return bad_input(flag + " " + text + ": not a size such as 80MB or 1.5GB");
  return static_cast<uint64_t>(value * scale);
}

}  // namespace lissom::cli
