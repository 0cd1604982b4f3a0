#include "table.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

namespace lissom::cli {
namespace {

size_t width(std::string_view text) {
  return static_cast<size_t>(std::ranges::count_if(text, [](char c) { return (c & 0xc0) != 0x80; }));
}

/// Three digits or four, and the prefix of a power of 1000.
std::string scaled(uint64_t n, std::string_view unit) {
  constexpr std::array<std::string_view, 7> kPrefixes{"", "k", "M", "G", "T", "P", "E"};
  auto value = static_cast<double>(n);
  size_t prefix = 0;
  while (value >= 999.95 && prefix + 1 < kPrefixes.size()) {
    value /= 1000;
    ++prefix;
  }
  const std::string suffix = std::string(kPrefixes[prefix]).append(unit);
  return fmt::format("{:.{}f}{}{}", value, prefix == 0 ? 0 : 1, suffix.empty() ? "" : " ", suffix);
}

}  // namespace

std::string Table::str() const {
  std::vector<std::vector<std::string>> lines;
  std::vector<std::string> titles;
  for (const Column& c : columns_) titles.push_back(c.title);
  const bool titled = std::ranges::any_of(titles, [](const std::string& t) { return !t.empty(); });
  std::vector<size_t> widths;
  for (size_t c = 0; c < columns_.size(); ++c) {
    widths.push_back(width(titles[c]));
    for (const auto& r : rows_)
      if (c < r.size()) widths[c] = std::max(widths[c], width(r[c]));
  }
  if (titled) {
    lines.push_back(titles);
    std::vector<std::string> rule;
    rule.reserve(widths.size());
    for (const size_t w : widths) rule.emplace_back(w, '-');
    lines.push_back(std::move(rule));
  }
  lines.insert(lines.end(), rows_.begin(), rows_.end());
  std::string text;
  for (const auto& line : lines) {
    std::string out;
    for (size_t c = 0; c < columns_.size(); ++c) {
      const std::string cell = c < line.size() ? line[c] : "";
      const std::string fill(widths[c] - width(cell), ' ');
      out += (c > 0 ? "  " : "") + (columns_[c].align == Align::right ? fill + cell : cell + fill);
    }
    out.erase(out.find_last_not_of(' ') + 1);
    text += out + '\n';
  }
  return text;
}

std::string human_bytes(uint64_t bytes) {
  return scaled(bytes, "B");
}
std::string human_count(uint64_t count) {
  return scaled(count, "");
}

std::string human_seconds(double seconds) {
  if (seconds < 59.95) return fmt::format("{:.1f} s", seconds);
  const auto whole = std::llround(seconds);
  if (whole < 3600) return fmt::format("{}m {:02}s", whole / 60, whole % 60);
  return fmt::format("{}h {:02}m", whole / 3600, whole / 60 % 60);
}

}  // namespace lissom::cli
