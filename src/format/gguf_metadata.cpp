#include <algorithm>
#include <limits>
#include <type_traits>

#include "base/text.h"
#include "lissom/gguf.h"

namespace lissom {
namespace {

template <class T>
constexpr bool kIsInteger = std::is_integral_v<T> && !std::is_same_v<T, bool>;

tl::unexpected<Error> absent(std::string_view key) {
  return bad_input("metadata key " + in_quotes(key) + " is absent");
}
tl::unexpected<Error> wrong_type(std::string_view key, const char* expected) {
  return bad_input("metadata key " + in_quotes(key) + " is not " + expected);
}

}  // namespace

void GgufMetadata::set(std::string key, GgufValue value) {
  const auto it = std::ranges::find(entries_, key, &std::pair<std::string, GgufValue>::first);
  if (it != entries_.end())
    it->second = std::move(value);
  else
    append(std::move(key), std::move(value));
}

void GgufMetadata::erase(std::string_view key) {
  std::erase_if(entries_, [&](const auto& entry) { return entry.first == key; });
}

const GgufValue* GgufMetadata::find(std::string_view key) const {
  const auto it = std::ranges::find(entries_, key, &std::pair<std::string, GgufValue>::first);
  return it == entries_.end() ? nullptr : &it->second;
}

Result<int64_t> GgufMetadata::integer(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return absent(key);
  return std::visit(
      [&](const auto& v) -> Result<int64_t> {
        using T = std::decay_t<decltype(v)>;
        if constexpr (kIsInteger<T>) {
          if (!std::in_range<int64_t>(v)) return bad_input("metadata key " + in_quotes(key) + " is past 2^63");
          return static_cast<int64_t>(v);
        } else {
          return wrong_type(key, "an integer");
        }
      },
      *value);
}

Result<double> GgufMetadata::number(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return absent(key);
  return std::visit(
      [&](const auto& v) -> Result<double> {
        using T = std::decay_t<decltype(v)>;
        if constexpr (kIsInteger<T> || std::is_floating_point_v<T>)
          return static_cast<double>(v);
        else
          return wrong_type(key, "a number");
      },
      *value);
}

Result<bool> GgufMetadata::boolean(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return absent(key);
  if (const bool* v = std::get_if<bool>(value)) return *v;
  return wrong_type(key, "a boolean");
}

Result<std::string> GgufMetadata::string(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return absent(key);
  if (const auto* v = std::get_if<std::string>(value)) return *v;
  return wrong_type(key, "a string");
}

int64_t GgufMetadata::integer_or(std::string_view key, int64_t fallback) const {
  return integer(key).value_or(fallback);
}
double GgufMetadata::number_or(std::string_view key, double fallback) const {
  return number(key).value_or(fallback);
}
bool GgufMetadata::boolean_or(std::string_view key, bool fallback) const {
  return boolean(key).value_or(fallback);
}
std::string GgufMetadata::string_or(std::string_view key, std::string fallback) const {
  return string(key).value_or(std::move(fallback));
}

}  // namespace lissom
