// GGUF's typed metadata as JSON.

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <type_traits>

#include "base/hex.h"
#include "base/text.h"
#include "format/json.h"
#include "format/pack.h"

namespace lissom {
namespace {

template <class T>
constexpr const char* type_name() {
  if constexpr (std::is_same_v<T, uint8_t>) return "u8";
  if constexpr (std::is_same_v<T, int8_t>) return "i8";
  if constexpr (std::is_same_v<T, uint16_t>) return "u16";
  if constexpr (std::is_same_v<T, int16_t>) return "i16";
  if constexpr (std::is_same_v<T, uint32_t>) return "u32";
  if constexpr (std::is_same_v<T, int32_t>) return "i32";
  if constexpr (std::is_same_v<T, uint64_t>) return "u64";
  if constexpr (std::is_same_v<T, int64_t>) return "i64";
  if constexpr (std::is_same_v<T, float>) return "f32";
  if constexpr (std::is_same_v<T, double>) return "f64";
  if constexpr (std::is_same_v<T, bool>) return "bool";
  if constexpr (std::is_same_v<T, std::string>) return "str";
}

template <class T>
Json item_json(const T& item) {
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(item)) return "nan";
    if (std::isinf(item)) return item > 0 ? "inf" : "-inf";
  }
  return item;
}

Json string_json(const std::string& text, bool hex) {
  return hex ? to_hex(text) : text;
}

Json value_json(const std::string& text) {
  const bool hex = !valid_utf8(text);
  return {{"type", hex ? "hex" : "str"}, {"value", string_json(text, hex)}};
}

Result<Json> array_json(const GgufArray& array) {
  return std::visit(
      [](const auto& items) -> Result<Json> {
        using T = typename std::decay_t<decltype(items)>::value_type;
        Json list = Json::array();
        if constexpr (std::is_same_v<T, std::shared_ptr<GgufArray>>) {
          return unsupported("an array of arrays has no form in a pack");
        } else if constexpr (std::is_same_v<T, std::string>) {
          bool hex = false;
          for (const std::string& item : items) hex = hex || !valid_utf8(item);
          for (const std::string& item : items) list.push_back(string_json(item, hex));
          return Json{{"type", hex ? "[hex]" : "[str]"}, {"value", std::move(list)}};
        } else {
          for (size_t i = 0; i < items.size(); ++i) list.push_back(item_json<T>(items[i]));
          return Json{{"type", std::string("[") + type_name<T>() + "]"}, {"value", std::move(list)}};
        }
      },
      array.items);
}

/// False where the JSON does not hold a T.
template <class T>
bool item_of(const Json& json, T& out) {
  if constexpr (std::is_same_v<T, bool>) {
    if (!json.is_boolean()) return false;
    out = json.get<bool>();
  } else if constexpr (std::is_floating_point_v<T>) {
    if (json.is_string()) {
      const auto& text = json.get_ref<const std::string&>();
      if (text != "nan" && text != "inf" && text != "-inf") return false;
      out = text == "nan" ? std::numeric_limits<T>::quiet_NaN() : std::numeric_limits<T>::infinity();
      if (text == "-inf") out = -out;
      return true;
    }
    if (!json.is_number()) return false;
    const double value = json.get<double>();
    if (std::fabs(value) > static_cast<double>(std::numeric_limits<T>::max())) return false;
    out = static_cast<T>(value);
  } else if constexpr (std::is_unsigned_v<T>) {
    if (!json.is_number_unsigned()) return false;
    const auto value = json.get<uint64_t>();
    if (value > std::numeric_limits<T>::max()) return false;
    out = static_cast<T>(value);
  } else {
    if (json.is_number_unsigned()) {
      if (json.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<T>::max())) return false;
    } else if (!json.is_number_integer() ||
               json.get<int64_t>() < static_cast<int64_t>(std::numeric_limits<T>::min())) {
      return false;
    }
    out = static_cast<T>(json.get<int64_t>());
  }
  return true;
}

bool string_of(const Json& json, bool hex, std::string& out) {
  if (!json.is_string()) return false;
  const auto& text = json.get_ref<const std::string&>();
  if (hex) return from_hex(text, out);
  out = text;
  return true;
}

/// False where `type` is another one; then nothing was read.
template <class T>
bool read_as(std::string_view type, const Json& value, GgufMetadata& out, const std::string& key, bool& good) {
  const bool array = type == std::string("[") + type_name<T>() + "]";
  if (!array && type != type_name<T>()) return false;
  if (!array) {
    T item{};
    good = item_of(value, item);
    if (good) out.append(key, item);
    return true;
  }
  good = value.is_array();
  std::vector<T> items;
  if (good) items.reserve(value.size());
  for (size_t i = 0; good && i < value.size(); ++i) {
    T item{};
    good = item_of(value[i], item);
    items.push_back(item);
  }
  if (good) out.append(key, std::make_shared<GgufArray>(GgufArray{std::move(items)}));
  return true;
}

bool read_text(std::string_view type, const Json& value, GgufMetadata& out, const std::string& key,
               bool& good) {
  const bool array = type == "[str]" || type == "[hex]", hex = type == "hex" || type == "[hex]";
  if (!array && type != "str" && type != "hex") return false;
  if (!array) {
    std::string text;
    good = string_of(value, hex, text);
    if (good) out.append(key, std::move(text));
    return true;
  }
  good = value.is_array();
  std::vector<std::string> items(good ? value.size() : 0);
  for (size_t i = 0; i < items.size() && good; ++i) good = string_of(value[i], hex, items[i]);
  if (good) out.append(key, std::make_shared<GgufArray>(GgufArray{std::move(items)}));
  return true;
}

template <class... Types>
bool read_any(std::string_view type, const Json& value, GgufMetadata& out, const std::string& key, bool& good) {
  return (read_as<Types>(type, value, out, key, good) || ...) || read_text(type, value, out, key, good);
}

}  // namespace

Result<std::string> metadata_to_json(const GgufMetadata& metadata) {
  Json json = Json::object();
  for (const auto& [key, value] : metadata.entries()) {
    auto item = std::visit(
        [](const auto& v) -> Result<Json> {
          using T = std::decay_t<decltype(v)>;
          if constexpr (std::is_same_v<T, std::shared_ptr<GgufArray>>) {
            return array_json(*v);
          } else if constexpr (std::is_same_v<T, std::string>) {
            return value_json(v);
          } else {
            return Json{{"type", type_name<T>()}, {"value", item_json(v)}};
          }
        },
        value);
    if (!item) return tl::unexpected(item.error().within("key " + in_quotes(key)));
    if (!valid_utf8(key)) return bad_input("key " + in_quotes(key) + " is not UTF-8");
    json[key] = *std::move(item);
  }
  return json.dump();
}

Result<GgufMetadata> metadata_from_json(std::string_view text, const std::string& origin) {
  LISSOM_TRY(const Json json, parse_json(text, origin));
  if (!json.is_object()) return bad_input(origin + ": expected an object");
  GgufMetadata metadata;
  for (const auto& item : json.items()) {
    const std::string& key = item.key();
    const Json& entry = item.value();
    const auto refuse = [&](const std::string& why) {
      return bad_input(fmt::format("{}: key {}: {}", origin, in_quotes(key), why));
    };
    if (!entry.is_object() || !entry.contains("type") || !entry["type"].is_string() || !entry.contains("value"))
      return refuse("expected {\"type\": …, \"value\": …}");
    const auto& type = entry["type"].get_ref<const std::string&>();
    bool good = true;
    if (!read_any<uint8_t, int8_t, uint16_t, int16_t, uint32_t, int32_t, float, bool, uint64_t, int64_t,
                  double>(type, entry["value"], metadata, key, good))
      return refuse("unknown type " + in_quotes(type));
    if (!good) return refuse("its value is no " + in_quotes(type));
  }
  return metadata;
}

}  // namespace lissom
