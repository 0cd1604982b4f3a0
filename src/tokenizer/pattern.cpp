#include "tokenizer/pattern.h"

#include "tokenizer/regex.h"

namespace lissom::tok {

Result<Pattern> make_pattern(const Fields& fields, std::string_view field) {
  LISSOM_TRY(const Fields inner, fields.object(field));
  LISSOM_CHECK(inner.only({"String", "Regex"}));
  if (inner.find("String") != nullptr) {
    LISSOM_TRY(const std::string literal, inner.string("String"));
    if (literal.empty()) return bad_input(inner.at("String") + ": the pattern is empty");
    return Pattern{[literal](std::string_view text, FunctionRef<void(size_t, size_t)> found) {
                     for (size_t at = text.find(literal); at != std::string_view::npos;
                          at = text.find(literal, at + literal.size()))
                       found(at, at + literal.size());
                   },
                   nullptr};
  }
  LISSOM_TRY(const std::string expression, inner.string("Regex"));
  auto regex = Regex::compile(expression);
  if (!regex) return tl::unexpected(regex.error().within(inner.at("Regex")));
  return Pattern{[compiled = *regex](std::string_view text, FunctionRef<void(size_t, size_t)> found) {
                   compiled->find_all(text, found);
                 },
                 find_splitter(expression)};
}

}  // namespace lissom::tok
