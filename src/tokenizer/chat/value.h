#pragma once
// What chat templates compute with: Python's values as Jinja sees them. Included by .cpp files only.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "lissom/result.h"

namespace lissom::chat {

struct Sequence;
struct Dict;
struct Callable;
struct Loop;

/// Evaluates to nothing, and fails where it is used for more than printing, testing or iterating.
struct Undefined {
  std::shared_ptr<const std::string> why;  ///< "'x' is undefined"; may be null
};
struct None {};
using Str =
    std::shared_ptr<const std::string>;  ///< UTF-8; lengths and positions count code points, as in Python

/// One of the kinds of value.
template <class T>
concept Alternative = std::is_same_v<T, Undefined> || std::is_same_v<T, None> || std::is_same_v<T, bool> ||
    std::is_same_v<T, int64_t> || std::is_same_v<T, double> || std::is_same_v<T, Str> ||
    std::is_same_v<T, std::shared_ptr<Sequence>> || std::is_same_v<T, std::shared_ptr<Dict>> ||
    std::is_same_v<T, std::shared_ptr<Callable>> || std::is_same_v<T, std::shared_ptr<Loop>>;

struct Value {
  std::variant<Undefined, None, bool, int64_t, double, Str, std::shared_ptr<Sequence>, std::shared_ptr<Dict>,
               std::shared_ptr<Callable>, std::shared_ptr<Loop>>
      data;

  Value() = default;
  template <class T>
  requires Alternative<T> Value(T value)
      : data(std::move(value)) {}  // NOLINT(google-explicit-constructor): every alternative is a value

  template <class T>
  [[nodiscard]] bool is() const {
    return std::holds_alternative<T>(data);
  }
  template <class T>
  [[nodiscard]] const T* as() const {
    return std::get_if<T>(&data);
  }
  [[nodiscard]] const std::string* text() const {
    const Str* s = std::get_if<Str>(&data);
    return s == nullptr ? nullptr : s->get();
  }
  /// Integers and booleans.
  [[nodiscard]] bool integer(int64_t& out) const;
  /// Integers, booleans and floats.
  [[nodiscard]] bool number(double& out) const;
};

[[nodiscard]] inline Value string_value(std::string text) {
  return Value(std::make_shared<const std::string>(std::move(text)));
}
[[nodiscard]] inline Value undefined(std::string why) {
  return Value(Undefined{std::make_shared<const std::string>(std::move(why))});
}

struct Sequence {
  enum class Kind { list, tuple, range, view, generator };
  Kind kind = Kind::list;
  std::vector<Value> items;
  std::string label;  ///< of a range or view: what it prints as; a view's is put around its items
  size_t next = 0;    ///< generators are read once
  int depth = 1;      ///< of nesting, bounded so that nothing recurses without end
};

/// Insertion-ordered. Also namespace().
struct Dict {
  bool is_namespace = false;
  std::vector<std::pair<Value, Value>> items;
  int depth = 1;

  [[nodiscard]] const Value* find(const Value& key) const;
  [[nodiscard]] const Value* find_text(std::string_view key) const;
  void set(Value key, Value value);

 private:
  void index();
  /// Strings by hash, from the size on where looking through the items is slower.
  std::vector<uint32_t> slots_;
  size_t others_ = 0;  ///< keys that are not strings
};

struct Loop {
  int64_t index0 = 0, length = 0, depth = 0;
  Value previous, next;
  bool has_previous = false, has_next = false, asked = false;
  Value last_asked;  ///< of loop.changed()
};

/// What a render may use; all of it hostile templates would like to use up.
struct Budget {
  int64_t steps = 4'000'000;           ///< evaluated nodes, compared values
  int64_t bytes = int64_t{128} << 20;  ///< of strings and lists made, freed or not
  int depth = 0;                       ///< of evaluation, now
  static constexpr int kMaxDepth = 400, kMaxNesting = 100;

  [[nodiscard]] Result<void> step(int64_t n = 1);
  [[nodiscard]] Result<void> charge(size_t n);
};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};
class Interpreter;
struct Callable {
  std::string name;
  std::function<Result<Value>(Interpreter&, const Arguments&)> call;
};

[[nodiscard]] const char* type_name(const Value& v);  ///< Python's
[[nodiscard]] bool truth(const Value& v);
[[nodiscard]] Result<bool> equal(const Value& a, const Value& b, Budget& budget);
[[nodiscard]] Result<bool> less(const Value& a, const Value& b, Budget& budget);
[[nodiscard]] Result<bool> contains(const Value& container, const Value& item, Budget& budget);

/// str(v) and repr(v).
[[nodiscard]] Result<std::string> to_text(const Value& v, Budget& budget);
[[nodiscard]] Result<std::string> repr(const Value& v, Budget& budget);
[[nodiscard]] std::string float_text(double x);

/// New values whose nesting is checked and whose size is charged.
[[nodiscard]] Result<Value> make_sequence(std::vector<Value> items, Sequence::Kind kind, Budget& budget,
                                          std::string label = {});
[[nodiscard]] Result<Value> make_list(std::vector<Value> items, Budget& budget);
[[nodiscard]] Result<Value> make_dict(const std::vector<std::pair<Value, Value>>& items, Budget& budget);
[[nodiscard]] Result<Value> make_text(std::string text, Budget& budget);

/// What a loop over the value sees: items, keys, characters. Reads a generator to its end.
[[nodiscard]] Result<std::vector<Value>> iterate(const Value& v, Budget& budget);
/// len(v).
[[nodiscard]] Result<int64_t> length(const Value& v);

struct JsonStyle {
  bool ensure_ascii = false, sort_keys = false;
  std::string indent;
  bool indented = false;
  std::string item = ", ", key = ": ";
};
[[nodiscard]] Result<std::string> to_json(const Value& v, const JsonStyle& style, Budget& budget);
/// Objects keep the order of their keys; integers beyond 64 bits are refused.
[[nodiscard]] Result<Value> from_json(std::string_view text, const std::string& origin);

// ---------------------------------------------------------------- text, as Python's str has it

[[nodiscard]] std::u32string code_points(std::string_view text);
[[nodiscard]] std::string utf8(std::u32string_view text);
[[nodiscard]] bool is_space(char32_t c);
[[nodiscard]] std::string strip(std::string_view text, bool left, bool right);
[[nodiscard]] std::string upper(std::string_view text);
[[nodiscard]] std::string lower(std::string_view text);
[[nodiscard]] std::string title(std::string_view text);
[[nodiscard]] std::string capitalize(std::string_view text);
[[nodiscard]] std::vector<std::string> split_lines(std::string_view text, bool keep_ends = false);
[[nodiscard]] Result<std::string> replace(std::string_view text, std::string_view from, std::string_view to,
                                          int64_t count, Budget& budget);

}  // namespace lissom::chat
