#include "tokenizer/fields.h"

#include <algorithm>

#include "base/text.h"

namespace lissom::tok {

Result<Fields> fields_of(const Json& value, const std::string& where) {
  if (!value.is_object()) return bad_input(where + ": expected an object, got " + value.type_name());
  return Fields(value, where);
}

const Json* Fields::find(std::string_view field) const {
  const auto it = object_->find(field);
  return it == object_->end() || it->is_null() ? nullptr : &*it;
}

tl::unexpected<Error> Fields::wrong(std::string_view field, std::string_view expected) const {
  const Json* value = find(field);
  return bad_input(at(field) + ": expected " + std::string(expected) + ", got " +
                   (value == nullptr ? "nothing" : value->type_name()));
}

Result<void> Fields::only(std::initializer_list<std::string_view> known) const {
  for (const auto& [name, value] : object_->items())
    if (std::find(known.begin(), known.end(), name) == known.end() && name != "type")
      return unsupported(where_ + ": unknown field " + in_quotes(name));
  return {};
}

Result<std::string> Fields::type() const {
  return string("type");
}

Result<bool> Fields::boolean(std::string_view field, bool fallback) const {
  const Json* value = find(field);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) return wrong(field, "a boolean");
  return value->get<bool>();
}

Result<int64_t> Fields::integer(std::string_view field, int64_t fallback, int64_t low, int64_t high) const {
  const Json* value = find(field);
  if (value == nullptr) return fallback;
  if (!value->is_number_integer()) return wrong(field, "an integer");
  const bool huge = value->is_number_unsigned() && value->get<uint64_t>() > static_cast<uint64_t>(INT64_MAX);
  if (huge || value->get<int64_t>() < low || value->get<int64_t>() > high)
    return bad_input(at(field) + ": " + value->dump() + " is not in [" + std::to_string(low) + ", " +
                     std::to_string(high) + "]");
  return value->get<int64_t>();
}

Result<std::string> Fields::string(std::string_view field) const {
  const Json* value = find(field);
  if (value == nullptr || !value->is_string()) return wrong(field, "a string");
  return value->get<std::string>();
}

Result<std::string> Fields::string(std::string_view field, const std::string& fallback) const {
  if (find(field) == nullptr) return fallback;
  return string(field);
}

Result<const Json*> Fields::array(std::string_view field) const {
  const Json* value = find(field);
  if (value == nullptr || !value->is_array()) return wrong(field, "an array");
  return value;
}

Result<Fields> Fields::object(std::string_view field) const {
  const Json* value = find(field);
  if (value == nullptr || !value->is_object()) return wrong(field, "an object");
  return Fields(*value, at(field));
}

}  // namespace lissom::tok
