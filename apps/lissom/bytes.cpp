#include "bytes.h"

#include <cctype>
#include <cmath>
#include <cstdio>

namespace lissom::cli {

Result<uint64_t> parse_bytes(const std::string& flag, const std::string& text) {
  double value = 0;
  int used = 0;
  char unit[4] = "";
  if (std::sscanf(text.c_str(), "%lf%n %3[a-zA-Z]", &value, &used, unit) < 1) used = 0;
  const std::string suffix = unit;
  double scale = suffix.empty() || suffix == "B" ? 1 : 0;
  const double base = suffix.size() == 3 && suffix[1] == 'i' ? 1024 : 1000;
  if (suffix.size() >= 2 && suffix.back() == 'B') {
    const size_t power = std::string("KMGT").find(static_cast<char>(std::toupper(suffix[0])));
    if (power != std::string::npos && (suffix.size() == 2 || base == 1024))
      scale = std::pow(base, static_cast<double>(power + 1));
  }
  if (used == 0 || scale == 0 || !(value > 0) || value * scale > 1e18)
    return bad_input(flag + " " + text + ": not a size such as 80MB or 1.5GB");
  return static_cast<uint64_t>(value * scale);
}

}  // namespace lissom::cli
