// Charts of a diagnosis: a column for each block.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "report/html.h"

namespace lissom::html {
namespace {

constexpr double kWidth = 1040, kHeight = 260, kLeft = 64, kRight = 16, kTop = 16, kBottom = 30;
constexpr size_t kMostColumns = 1024;

struct Column {
  double bar = 0;
  std::optional<double> line;
  bool hot = false;
  std::string label, title;
};

/// Escaped names of the culprits' blocks.
bool accused(const Json& report, double block) {
  const Json& culprits = member(report, "culprits");
  if (!culprits.is_array()) return false;
  return std::ranges::any_of(culprits, [&](const Json& c) { return number(c, "block") == block; });
}

std::string label_of(double block) {
  if (block >= 0) return fmt::format("{:.0f}", block);
  return block == -1 ? "emb." : "head";
}

/// Bars from a linear axis' zero; the line in the same unit.
std::string chart(const std::vector<Column>& columns, const char* name, const char* unit, const char* caption) {
  if (columns.empty() || columns.size() > kMostColumns) return "";
  double low = 0, high = 1e-12;
  for (const Column& c : columns) {
    low = std::min(low, c.bar);
    high = std::max({high, c.bar, c.line.value_or(0)});
  }
  const double plot = kHeight - kTop - kBottom,
               step = (kWidth - kLeft - kRight) / static_cast<double>(columns.size());
  const auto y = [&](double value) { return kTop + (high - value) / (high - low) * plot; };
  const auto x = [&](size_t i) { return kLeft + (static_cast<double>(i) + 0.5) * step; };
  std::string svg =
      fmt::format(R"(<figure><svg viewBox="0 0 {} {}" role="img" aria-label="{}">)", kWidth, kHeight, name);
  for (int i = 0; i <= 4; ++i) {
    const double value = low + (high - low) * i / 4;
    svg += fmt::format(
        R"(<line class="grid" x1="{0}" x2="{1}" y1="{2:.1f}" y2="{2:.1f}"/><text class="axis" x="{3}" y="{4:.1f}" text-anchor="end">{5:.2g}{6}</text>)",
        kLeft, kWidth - kRight, y(value), kLeft - 6, y(value) + 4, value, unit);
  }
  std::string line;
  const size_t labels = std::max<size_t>(1, columns.size() / 20);
  for (size_t i = 0; i < columns.size(); ++i) {
    const Column& c = columns[i];
    const double top = y(std::max(c.bar, 0.0)), bottom = y(std::min(c.bar, 0.0));
    svg += fmt::format(
        R"(<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{}</title></rect>)",
        c.hot ? "bad" : "cell", x(i) - step * 0.36, top, step * 0.72, std::max(bottom - top, 0.5), c.title);
    if (i % labels == 0)
      svg += fmt::format(R"(<text class="axis" x="{:.1f}" y="{}" text-anchor="middle">{}</text>)", x(i),
                         kHeight - 8, c.label);
    if (c.line) line += fmt::format("{:.1f},{:.1f} ", x(i), y(*c.line));
  }
  if (!line.empty()) svg += fmt::format(R"(<polyline class="path" points="{}"/>)", line);
  return svg + fmt::format("</svg><figcaption>{}</figcaption></figure>\n", caption);
}

}  // namespace

std::string error_chart(const Json& report) {
  std::vector<Column> columns;
  const Json& layers = member(report, "layers");
  if (!layers.is_array()) return "";
  for (const Json& layer : layers) {
    const auto block = number(layer, "block"), own = number(member(layer, "own"), "relative_error"),
               state = number(member(layer, "state"), "relative_error");
    if (!block || !own) continue;
    columns.push_back({*own, state, accused(report, *block), label_of(*block),
                       fmt::format("{}: own error {}, error of the hidden state {}", label_of(*block),
                                   small(own), small(state))});
  }
  return chart(
      columns, "error of each block", "",
      "Bars: each block's own error, fed the base's hidden states; red where a culprit lies. Line: error "
      "of the hidden state after it, with all that came before.");
}

std::string gain_chart(const Json& report) {
  const Json& parts = member(member(report, "scan"), "parts");
  if (!parts.is_array()) return "";
  std::vector<std::pair<double, Column>> found;
  for (const Json& part : parts) {
    const auto block = number(part, "block"), share = number(part, "share");
    if (!block || !share) continue;
    // The head comes last, whatever its number is.
    found.push_back({*block == -2 ? 1e9 : *block,
                     {100 * *share,
                      {},
                      accused(report, *block),
                      label_of(*block),
                      fmt::format("{}: {:.1f}% of the loss", text(part, "name"), 100 * *share)}});
  }
  std::ranges::sort(found, {}, &std::pair<double, Column>::first);
  std::vector<Column> columns;
  columns.reserve(found.size());
  for (auto& [order, column] : found) columns.push_back(std::move(column));
  return chart(columns, "what restoring each block brings back", "%",
               "Share of the loss that goes when this part alone has the base's weights again.");
}

}  // namespace lissom::html
