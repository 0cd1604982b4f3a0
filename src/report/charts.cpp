#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <string_view>
#include <vector>

#include "report/html.h"

namespace lissom::html {
namespace {

struct Point {
  double bytes, kld, error;
  std::string name;
};

std::vector<Point> points_of(const Json& report) {
  std::vector<Point> points;
  const Json& results = member(report, "results");
  if (!results.is_array()) return points;
  for (const Json& result : results) {
    const auto bytes = number(result, "file_bytes");
    const auto kld = number(member(result, "eval"), "kld_mean");
    if (!bytes || !kld || *bytes <= 0) continue;
    // A divergence of zero has no place on a logarithmic axis.
    const double error = number(member(result, "eval"), "kld_mean_error").value_or(0);
    points.push_back({*bytes, std::max(*kld, 1e-8), std::max(error, 0.0), text(result, "scheme")});
  }
  std::ranges::sort(points, {}, &Point::bytes);
  return points;
}

/// "blk.12.attn_q.weight": sets the layer and returns "attn_q.weight"; empty for other names.
std::string_view layer_of(std::string_view name, int64_t& layer) {
  constexpr std::string_view kPrefix = "blk.";
  if (!name.starts_with(kPrefix)) return {};
  const char* const end = name.data() + name.size();
  const auto [dot, error] = std::from_chars(name.data() + kPrefix.size(), end, layer);
  if (error != std::errc() || layer < 0 || layer > 9999 || dot == end || *dot != '.') return {};
  return {dot + 1, end};
}

/// A step of 1, 2 or 5 times a power of ten that divides `span` into at most six.
double step_of(double span) {
  const double power = std::pow(10, std::floor(std::log10(span / 6)));
  for (const double factor : {1.0, 2.0, 5.0})
    if (span / (factor * power) <= 6) return factor * power;
  return 10 * power;
}

constexpr double kWidth = 1040, kHeight = 380, kLeft = 76, kRight = 40, kTop = 20, kBottom = 52;

struct Axes {
  double x0, x1, y0, y1;  ///< megabytes; log10 of nats
  [[nodiscard]] double x(double megabytes) const {
    return kLeft + (megabytes - x0) / (x1 - x0) * (kWidth - kLeft - kRight);
  }
  [[nodiscard]] double y(double log_kld) const {
    return kHeight - kBottom - (log_kld - y0) / (y1 - y0) * (kHeight - kTop - kBottom);
  }
};

std::string grid_of(const Axes& axes) {
  std::string svg;
  const double step = step_of(axes.x1 - axes.x0);
  const double first = std::ceil(axes.x0 / step);
  for (int i = 0; (first + i) * step <= axes.x1; ++i) {
    const double v = (first + i) * step;
    svg += fmt::format(
        R"(<line class="grid" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/><text class="axis" x="{0:.1f}" y="{3}" text-anchor="middle">{4:g}</text>)",
        axes.x(v), kTop, kHeight - kBottom, kHeight - kBottom + 18, v);
  }
  for (int decade = static_cast<int>(std::floor(axes.y0)); decade <= axes.y1; ++decade) {
    for (const double factor : {1.0, 2.0, 5.0}) {
      const double v = decade + std::log10(factor);
      if (v < axes.y0 || v > axes.y1) continue;
      svg += fmt::format(
          R"(<line class="grid" x1="{0}" x2="{1}" y1="{2:.1f}" y2="{2:.1f}"/><text class="axis" x="{3}" y="{4:.1f}" text-anchor="end">{5:g}</text>)",
          kLeft, kWidth - kRight, axes.y(v), kLeft - 8, axes.y(v) + 4, std::pow(10, v));
    }
  }
  svg += fmt::format(
      R"svg(<text class="axis" x="{}" y="{}" text-anchor="end">size of the file, MB</text><text class="axis" transform="translate(16 {}) rotate(-90)" text-anchor="middle">mean KL divergence, nats</text>)svg",
      kWidth - kRight, kHeight - 12, (kTop + kHeight - kBottom) / 2);
  return svg;
}

std::string marks_of(const std::vector<Point>& points, const Axes& axes) {
  std::string svg, line;
  for (const Point& p : points)
    line += fmt::format("{:.1f},{:.1f} ", axes.x(p.bytes / 1e6), axes.y(std::log10(p.kld)));
  if (points.size() > 1) svg += fmt::format(R"(<polyline class="path" points="{}"/>)", line);
  for (const Point& p : points) {
    const double x = axes.x(p.bytes / 1e6), y = axes.y(std::log10(p.kld));
    const double high = axes.y(std::min(axes.y1, std::log10(p.kld + 2 * p.error)));
    const double low = axes.y(std::max(axes.y0, std::log10(std::max(p.kld - 2 * p.error, 1e-12))));
    const bool right = x > kWidth - 240;
    svg += fmt::format(
        R"(<line class="bar" x1="{0:.1f}" x2="{0:.1f}" y1="{1:.1f}" y2="{2:.1f}"/><circle class="dot" cx="{0:.1f}" cy="{3:.1f}" r="6"><title>{4}: {5:.1f} MB, KL {6:.3g} ± {7:.2g}</title></circle><text x="{8:.1f}" y="{9:.1f}" text-anchor="{10}">{4} · {5:.1f} MB · {6:.3g}</text>)",
        x, high, low, y, p.name, p.bytes / 1e6, p.kld, 2 * p.error, right ? x - 4 : x + 12,
        right ? y + 24 : y - 9, right ? "end" : "start");
  }
  return svg;
}

}  // namespace

std::string size_chart(const Json& report) {
  const std::vector<Point> points = points_of(report);
  if (points.empty()) return "";
  Axes axes{points.front().bytes / 1e6, points.back().bytes / 1e6, 0, 0};
  auto [least, most] = std::ranges::minmax_element(points, {}, &Point::kld);
  axes.y0 = std::log10(least->kld) - 0.35;
  axes.y1 = std::log10(most->kld + 2 * most->error) + 0.35;
  const auto source = number(member(report, "source"), "tensor_bytes");
  // The source's size is on the axis only where it does not squeeze the results into a corner.
  const bool with_source = source && *source / 1e6 > axes.x1 && *source / 1e6 < 3 * axes.x1;
  if (with_source) axes.x1 = *source / 1e6;
  const double margin = std::max((axes.x1 - axes.x0) * 0.12, axes.x1 * 0.04);
  axes.x0 = std::max(0.0, axes.x0 - margin);
  axes.x1 += margin;
  std::string svg =
      fmt::format(R"(<figure><svg viewBox="0 0 {} {}" role="img" aria-label="size against KL divergence">)",
                  kWidth, kHeight);
  svg += grid_of(axes);
  if (with_source)
    svg += fmt::format(
        R"(<line class="source" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/><text class="axis" x="{3:.1f}" y="{4}" text-anchor="end">the source's weights</text>)",
        axes.x(*source / 1e6), kTop, kHeight - kBottom, axes.x(*source / 1e6) - 6, kTop + 12);
  svg += marks_of(points, axes);
  return svg +
         "</svg><figcaption>Lower and further left is better. The divergence axis is logarithmic; bars span "
         "two "
         "standard errors to each side.</figcaption></figure>\n";
}

std::string frontier_chart(const Json& result) {
  struct Mark {
    double bytes, predicted, kld, error;
    bool searched, verified;
    std::string name;
  };
  std::vector<Mark> marks;
  const Json& frontier = member(member(result, "search"), "frontier");
  if (!frontier.is_array() || frontier.size() > 1000) return "";
  Axes axes{1e18, 0, 1e18, -1e18};
  for (const Json& point : frontier) {
    const auto bytes = number(point, "file_bytes"), predicted = number(point, "predicted_kld");
    if (!bytes || !predicted || *bytes <= 0 || !std::isfinite(*bytes) || !std::isfinite(*predicted)) continue;
    const auto kld = number(point, "kld");
    Mark m{*bytes / 1e6,
           std::log10(std::max(*predicted, 1e-8)),
           std::log10(std::max(kld.value_or(*predicted), 1e-8)),
           number(point, "kld_error").value_or(0),
           text(point, "name") == "search",
           kld.has_value(),
           text(point, "name")};
    axes.x0 = std::min(axes.x0, m.bytes);
    axes.x1 = std::max(axes.x1, m.bytes);
    axes.y0 = std::min({axes.y0, m.predicted, m.kld});
    axes.y1 = std::max({axes.y1, m.predicted, m.kld});
    marks.push_back(std::move(m));
  }
  if (marks.size() < 2) return "";
  std::ranges::stable_sort(marks, {}, &Mark::bytes);
  const double margin = std::max((axes.x1 - axes.x0) * 0.06, axes.x1 * 0.02);
  axes = {std::max(0.0, axes.x0 - margin), axes.x1 + margin, axes.y0 - 0.2, axes.y1 + 0.2};
  std::string line, dots;
  for (const Mark& m : marks) {
    const double x = axes.x(m.bytes), y = axes.y(m.kld);
    if (m.searched && !m.verified) line += fmt::format("{:.1f},{:.1f} ", x, axes.y(m.predicted));
    if (m.searched && !m.verified) continue;
    dots += fmt::format(
        R"(<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="{}"><title>{}: {:.1f} MB, predicted {:.3g}{}</title></circle>)",
        m.verified ? "dot" : "ring", x, y, m.verified ? 6 : 4, m.name, m.bytes, std::pow(10, m.predicted),
        m.verified ? fmt::format(", verified {:.3g} ± {:.2g}", std::pow(10, m.kld), m.error) : "");
    if (!m.searched)
      dots += fmt::format(R"(<text class="axis" x="{:.1f}" y="{:.1f}">{}</text>)", x + 8, y + 4, m.name);
  }
  return fmt::format(
             R"(<figure><svg viewBox="0 0 {} {}" role="img" aria-label="predicted divergence against size">)",
             kWidth, kHeight) +
         grid_of(axes) + fmt::format(R"(<polyline class="path" points="{}"/>)", line) + dots +
         "</svg><figcaption>The line: what the search expects of the best plan of each size. Rings: what it "
         "expects of built-in schemes. Dots: plans that were run.</figcaption></figure>\n";
}

std::string layer_map(const Json& result) {
  struct Cell {
    double error;
    std::string title;
  };
  std::map<std::string, std::map<int64_t, Cell>> rows;
  int64_t layers = 0;
  double worst = 0;
  const Json& tensors = member(result, "tensors");
  if (!tensors.is_array()) return "";
  for (const Json& tensor : tensors) {
    const Json& name_json = member(tensor, "name");
    if (!name_json.is_string() || flag(tensor, "kept")) continue;
    const auto& name = name_json.get_ref<const std::string&>();
    int64_t layer = -1;
    const std::string_view rest = layer_of(name, layer);
    if (rest.empty()) continue;
    auto error = number(tensor, "weighted_relative_error");
    if (!error) error = number(tensor, "relative_error");
    if (!error) continue;
    worst = std::max(worst, *error);
    layers = std::max<int64_t>(layers, layer + 1);
    rows[std::string(rest)][layer] = {
        *error, fmt::format("{}: {}, error {}", escaped(name), text(tensor, "codec"), small(error))};
  }
  if (rows.empty() || rows.size() > 40 || layers > 512) return "";
  const double left = 150, width = 1040, cell = (width - left) / static_cast<double>(layers), height = 20;
  std::string svg =
      fmt::format(R"(<figure><svg viewBox="0 0 {} {}" role="img" aria-label="error of each tensor by layer">)",
                  width, static_cast<double>(rows.size()) * height + 24);
  double y = 0;
  for (const auto& [kind, cells] : rows) {
    const std::string label = kind.ends_with(".weight") ? kind.substr(0, kind.size() - 7) : kind;
    svg += fmt::format(R"(<text class="axis" x="{}" y="{}" text-anchor="end">{}</text>)", left - 8, y + 14,
                       escaped(label));
    for (const auto& [layer, c] : cells)
      svg += fmt::format(
          R"(<rect class="cell" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{}" fill-opacity="{:.3f}"><title>{}</title></rect>)",
          left + static_cast<double>(layer) * cell, y + 1, std::max(cell - 2, 1.0), height - 2,
          worst > 0 ? 0.04 + 0.96 * c.error / worst : 0.04, c.title);
    y += height;
  }
  const int64_t step = std::max<int64_t>(1, layers / 16);
  for (int64_t layer = 0; layer < layers; layer += step)
    svg += fmt::format(R"(<text class="axis" x="{:.1f}" y="{}" text-anchor="middle">{}</text>)",
                       left + (static_cast<double>(layer) + 0.5) * cell, y + 16, layer);
  return svg + fmt::format(
                   "</svg><figcaption>Relative error of each matrix by layer, {}; the strongest colour is "
                   "{}.</figcaption>"
                   "</figure>\n",
                   "weighted by importance where it was measured", small(worst));
}

}  // namespace lissom::html
