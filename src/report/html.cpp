#include "report/html.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace lissom::html {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";

/// Bytes of the well-formed UTF-8 sequence at the front, or 0.
size_t sequence(std::string_view s) {
  const auto at = [&](size_t i) { return i < s.size() ? static_cast<unsigned char>(s[i]) : 0U; };
  const auto next = [&](size_t i) { return (at(i) & 0xc0U) == 0x80U; };
  const unsigned c = at(0), d = at(1);
  if (c < 0x80) return 1;
  if (c >= 0xc2 && c <= 0xdf) return next(1) ? 2 : 0;
  if ((c & 0xf0U) == 0xe0U) {
    if ((c == 0xe0 && d < 0xa0) || (c == 0xed && d > 0x9f)) return 0;
    return next(1) && next(2) ? 3 : 0;
  }
  if (c < 0xf0 || c > 0xf4 || (c == 0xf0 && d < 0x90) || (c == 0xf4 && d > 0x8f)) return 0;
  return next(1) && next(2) && next(3) ? 4 : 0;
}

}  // namespace

std::string escaped(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const size_t n = sequence(text);
    const char c = text.front();
    if (n == 0 || (n == 1 && (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)))
      out += c == '\n' || c == '\t' ? std::string_view(" ") : kReplacement;
    else if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '"')
      out += "&quot;";
    else if (c == '\'')
      out += "&#39;";
    else
      out += text.substr(0, n);
    text.remove_prefix(std::max<size_t>(n, 1));
  }
  return out;
}

const Json& member(const Json& object, const char* key) {
  static const Json kNull;
  if (!object.is_object()) return kNull;
  const auto it = object.find(key);
  return it == object.end() ? kNull : *it;
}

std::string text(const Json& object, const char* key) {
  const Json& value = member(object, key);
  if (value.is_string())
    return value.get_ref<const std::string&>().empty() ? "–" : escaped(value.get<std::string>());
  if (value.is_number_integer()) return std::to_string(value.get<int64_t>());
  if (value.is_number()) return fmt::format("{:.4g}", value.get<double>());
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  return "–";
}

std::optional<double> number(const Json& object, const char* key) {
  const Json& value = member(object, key);
  if (!value.is_number()) return {};
  const double v = value.get<double>();
  return std::isfinite(v) ? std::optional(v) : std::nullopt;
}

bool flag(const Json& object, const char* key) {
  const Json& value = member(object, key);
  return value.is_boolean() && value.get<bool>();
}

std::string figure(std::optional<double> value, int digits) {
  return value ? fmt::format("{:.{}f}", *value, digits) : "–";
}
std::string small(std::optional<double> value) {
  return value ? fmt::format("{:.3g}", *value) : "–";
}
std::string megabytes(std::optional<double> bytes) {
  if (!bytes) return "–";
  return *bytes >= 1e9 ? fmt::format("{:.2f} GB", *bytes / 1e9) : fmt::format("{:.1f} MB", *bytes / 1e6);
}

std::string tile(const std::string& label, const std::string& big, const std::string& sub) {
  return fmt::format(
      "<div class=\"tile\"><div class=\"label\">{}</div><div class=\"big\">{}</div><div "
      "class=\"sub\">{}</div></div>",
      label, big, sub);
}

}  // namespace lissom::html
