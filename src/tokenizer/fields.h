#pragma once
// Typed access to one JSON object of tokenizer.json, with errors that name file and field. Included by .cpp
// files only.

#include <initializer_list>
#include <string>
#include <string_view>

#include "format/json.h"
#include "lissom/result.h"

namespace lissom::tok {

class Fields {
 public:
  /// `where`: file and path of the object: "tokenizer.json: normalizer", or "tokenizer.json:" for the document
  /// itself.
  Fields(const Json& object, std::string where) : object_(&object), where_(std::move(where)) {}

  [[nodiscard]] const std::string& where() const { return where_; }
  [[nodiscard]] std::string at(std::string_view field) const {
    return where_ + (where_.ends_with(':') ? " " : ".") + std::string(field);
  }
  [[nodiscard]] const Json* find(std::string_view field) const;  ///< null when absent or null

  /// Refuses fields that are not listed: what is unknown here could change what a text becomes.
  [[nodiscard]] Result<void> only(std::initializer_list<std::string_view> known) const;
  [[nodiscard]] Result<std::string> type() const;  ///< the field "type"
  [[nodiscard]] Result<bool> boolean(std::string_view field, bool fallback) const;
  [[nodiscard]] Result<int64_t> integer(std::string_view field, int64_t fallback, int64_t low,
                                        int64_t high) const;
  [[nodiscard]] Result<std::string> string(std::string_view field) const;
  [[nodiscard]] Result<std::string> string(std::string_view field, const std::string& fallback) const;
  [[nodiscard]] Result<const Json*> array(std::string_view field) const;
  [[nodiscard]] Result<Fields> object(std::string_view field) const;

  /// The error "…: field: expected a boolean, got string".
  [[nodiscard]] tl::unexpected<Error> wrong(std::string_view field, std::string_view expected) const;

 private:
  const Json* object_;
  std::string where_;
};

/// Fields of `value`, which must be an object.
[[nodiscard]] Result<Fields> fields_of(const Json& value, const std::string& where);

}  // namespace lissom::tok
