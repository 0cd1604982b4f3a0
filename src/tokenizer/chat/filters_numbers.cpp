// Filters of numbers: a filter is one function and one line in the list at the
// end.

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "base/text.h"
#include "tokenizer/chat/filters.h"

namespace lissom::chat {
namespace {

/// Python's float(text).
bool parse_float(std::string_view text, double& out) {
  std::string s = strip(text, true, true);
  for (size_t i = 1; i + 1 < s.size(); ++i)
    if (s[i] == '_' && std::isdigit(static_cast<unsigned char>(s[i - 1])) != 0 &&
        std::isdigit(static_cast<unsigned char>(s[i + 1])) != 0)
      s.erase(i--, 1);
  std::string low = lower(s);
  const size_t sign = !low.empty() && (low[0] == '+' || low[0] == '-') ? 1 : 0;
  const std::string body = low.substr(sign);
  if (body == "inf" || body == "infinity" || body == "nan") {
    out = body == "nan" ? std::nan("") : HUGE_VAL;
  } else {
    if (body.empty() || body.find_first_not_of("0123456789.e+-") != std::string::npos || body[0] == '-' ||
        body[0] == '+')
      return false;
    char* end = nullptr;
    out = std::strtod(body.c_str(), &end);
    if (end != body.c_str() + body.size()) return false;
  }
  if (sign == 1 && low[0] == '-') out = -out;
  return true;
}

/// Python's int(text, 10); 0: not one, 1: parsed, 2: too large.
int parse_int(std::string_view text, int64_t& out) {
  std::string s = strip(text, true, true);
  for (size_t i = 1; i + 1 < s.size(); ++i)
    if (s[i] == '_' && std::isdigit(static_cast<unsigned char>(s[i - 1])) != 0 &&
        std::isdigit(static_cast<unsigned char>(s[i + 1])) != 0)
      s.erase(i--, 1);
  const char* begin = s.c_str() + (s.starts_with('+') ? 1 : 0);
  if (s.starts_with("+-")) return 0;
  const auto [end, failed] = std::from_chars(begin, s.c_str() + s.size(), out);
  if (failed == std::errc::invalid_argument || end != s.c_str() + s.size()) return 0;
  return failed == std::errc() ? 1 : 2;
}

Result<Value> int_filter(Interpreter& in, const Value& v, const Arguments& a) {
  LISSOM_TRY(const Bound b, Bound::bind(a, {"default", "base"}));
  LISSOM_TRY(const int64_t base, b.integer(1, 10));
  if (base != 10) return bad_input("int: bases other than 10 are not supported");
  const Value fallback = b[0] == nullptr ? Value(int64_t{0}) : *b[0];
  if (v.is<Undefined>()) return arithmetic("+", v, fallback, in.budget());
  int64_t i = 0;
  if (v.integer(i)) return Value(i);
  double d = 0;
  if (const std::string* text = v.text()) {
    const int parsed = parse_int(*text, i);
    if (parsed == 1) return Value(i);
    if (parsed == 2) return bad_input("an integer beyond 64 bits");
    if (!parse_float(*text, d)) return fallback;
  } else if (v.is<double>()) {
    d = *v.as<double>();
  } else {
    return fallback;
  }
  if (std::isnan(d) || std::isinf(d)) return fallback;
  if (std::fabs(d) >= 9.2e18) return bad_input("an integer beyond 64 bits");
  return Value(static_cast<int64_t>(d));
}

Result<Value> float_filter(Interpreter& in, const Value& v, const Arguments& a) {
  LISSOM_TRY(const Bound b, Bound::bind(a, {"default"}));
  if (v.is<Undefined>()) return arithmetic("+", v, Value(0.0), in.budget());
  double d = 0;
  if (v.number(d) || (v.text() != nullptr && parse_float(*v.text(), d))) return Value(d);
  return b[0] == nullptr ? Value(0.0) : *b[0];
}

Result<Value> round_filter(Interpreter& /*in*/, const Value& v, const Arguments& a) {
  LISSOM_TRY(const Bound b, Bound::bind(a, {"precision", "method"}));
  LISSOM_TRY(const int64_t precision, b.integer(0, 0));
  LISSOM_TRY(const std::string method, b.text(1, "common"));
  if (method != "common" && method != "ceil" && method != "floor")
    return bad_input("method must be common, ceil or floor");
  double d = 0;
  if (!v.number(d)) return bad_input(std::string("type ") + type_name(v) + " has no rounding");
  if (precision < -15 || precision > 15) return bad_input("a precision of " + std::to_string(precision));
  if (method != "common") {
    const double scale = std::pow(10.0, static_cast<double>(precision));
    return Value((method == "ceil" ? std::ceil(d * scale) : std::floor(d * scale)) / scale);
  }
  int64_t i = 0;
  if (v.integer(i)) {
    if (precision >= 0) return Value(i);
    int64_t unit = 1;
    for (int64_t k = precision; k < 0; ++k) unit *= 10;
    const int64_t rest = ((i % unit) + unit) % unit, low = i - rest;
    const bool up = 2 * rest > unit || (2 * rest == unit && (low / unit) % 2 != 0);
    return Value(up ? low + unit : low);
  }
  if (!std::isfinite(d)) return Value(d);
  if (precision < 0) {
    const double unit = std::pow(10.0, static_cast<double>(-precision));
    return Value(std::nearbyint(d / unit) * unit);
  }
  char buffer[400];
  std::snprintf(buffer, sizeof buffer, "%.*f", static_cast<int>(precision), d);
  return Value(std::strtod(buffer, nullptr));
}

Result<Value> abs_filter(Interpreter& /*in*/, const Value& v, const Arguments& a) {
  LISSOM_TRY([[maybe_unused]] const Bound b, Bound::bind(a, {}));
  int64_t i = 0;
  if (v.integer(i)) {
    if (i == INT64_MIN) return bad_input("an integer beyond 64 bits");
    return Value(i < 0 ? -i : i);
  }
  double d = 0;
  if (v.number(d)) return Value(std::fabs(d));
  return bad_input(std::string("bad operand type for abs(): '") + type_name(v) + "'");
}

Result<Value> sum(Interpreter& in, const Value& v, const Arguments& a) {
  LISSOM_TRY(const Bound b, Bound::bind(a, {"attribute", "start"}));
  LISSOM_TRY(const std::vector<Value> all, iterate(v, in.budget()));
  Value total = b[1] == nullptr ? Value(int64_t{0}) : *b[1];
  for (Value item : all) {
    if (b[0] != nullptr && !b[0]->is<None>()) {
      LISSOM_TRY(item, by_path(in, item, *b[0], nullptr));
    }
    LISSOM_TRY(total, arithmetic("+", total, item, in.budget()));
  }
  return total;
}

constexpr Named kFilters[] = {
    {"int", int_filter}, {"float", float_filter}, {"round", round_filter}, {"abs", abs_filter}, {"sum", sum},
};

}  // namespace

std::span<const Named> number_filters() {
  return kFilters;
}

}  // namespace lissom::chat
