#pragma once
// Runs a chat template. Included by .cpp files only.

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lissom/result.h"
#include "tokenizer/chat/syntax.h"
#include "tokenizer/chat/value.h"

namespace lissom::chat {

/// Variables of a block; an assignment goes to the innermost.
struct Scope {
  std::vector<std::pair<std::string, Value>> variables;
  std::shared_ptr<Scope> parent;

  [[nodiscard]] const Value* find(std::string_view name) const;
  void set(std::string_view name, Value value);
};

class Interpreter {
 public:
  /// `source` and `origin` are for errors; `now`: seconds since 1970, for strftime_now.
  Interpreter(std::string_view source, const std::string& origin, int64_t now)
      : source_(source), origin_(origin), now_(now) {}
  ~Interpreter();
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;

  [[nodiscard]] Result<std::string> render(const Body& body, const Value& variables);

  [[nodiscard]] Budget& budget() { return budget_; }
  [[nodiscard]] int64_t now() const { return now_; }
  /// v.name and v[key], as Jinja's sandbox resolves them.
  [[nodiscard]] Result<Value> attribute(const Value& v, const std::string& name);
  [[nodiscard]] Result<Value> item(const Value& v, const Value& key);
  [[nodiscard]] Result<Value> call(const Value& callee, const Arguments& arguments);
  /// A namespace, which may come to hold itself, and is emptied at the end.
  [[nodiscard]] Value make_namespace(const std::vector<std::pair<Value, Value>>& items);

 private:
  enum class Flow { on, leave, next };  ///< of loops: break is leave, continue is next

  Result<Flow> execute(const Body& body, std::string& out);
  Result<Flow> execute_one(const Statement& s, std::string& out);
  Result<Flow> run_if(const Statement& s, std::string& out);
  Result<void> run_for(const Statement& s, std::string& out);
  /// Whether a body ran to its end.
  Result<bool> run_loop(const Statement& s, const std::vector<Value>& items, std::string& out);
  Result<std::vector<Value>> loop_items(const Statement& s);
  Result<void> run_set(const Statement& s);
  Result<void> run_call(const Statement& s, std::string& out);
  Result<void> run_with(const Statement& s, std::string& out);
  Result<std::string> captured(const Body& body);
  Result<void> assign(const Expression& target, const Value& value);
  Result<void> emit(std::string_view text, std::string& out);
  Value make_macro(const Statement& s, const std::string& name);
  Result<Value> call_macro(const Statement& s, const std::string& name, const std::shared_ptr<Scope>& scope,
                           const Arguments& arguments);
  Result<void> bind_parameters(const Statement& s, const std::string& name, const Arguments& arguments);

  Result<Value> evaluate(const Expression& e);
  Result<Value> evaluate_node(const Expression& e);
  Result<std::vector<Value>> evaluate_all(const std::vector<ExpressionPtr>& items);
  Result<Value> evaluate_name(const Expression& e);
  Result<Value> evaluate_dict(const Expression& e);
  Result<Value> evaluate_item(const Expression& e);
  Result<Value> evaluate_slice(const Value& v, const Expression& slice);
  Result<Value> evaluate_call(const Expression& e);
  Result<Value> evaluate_filter(const Expression& e);
  Result<Value> evaluate_test(const Expression& e);
  Result<Value> evaluate_unary(const Expression& e);
  Result<Value> evaluate_concat(const Expression& e);
  Result<Value> evaluate_compare(const Expression& e);
  Result<bool> compare(const std::string& op, const Value& a, const Value& b);
  Result<Arguments> evaluate_arguments(const std::vector<Argument>& arguments);

  std::string_view source_;
  const std::string& origin_;
  int64_t now_;
  Budget budget_;
  std::shared_ptr<Scope> scope_;
  const Value* filtered_ = nullptr;  ///< what the filter of a block works on
  bool located_ = false;             ///< the error on its way has its line
  /// What may refer to itself in a circle, to be emptied at the end.
  std::vector<std::shared_ptr<Dict>> namespaces_;
  std::vector<std::shared_ptr<Scope>> captured_scopes_;
};

/// a op b for + - * / // % **.
[[nodiscard]] Result<Value> arithmetic(const std::string& op, const Value& a, const Value& b, Budget& budget);

using Function = Result<Value> (*)(Interpreter& in, const Value& v, const Arguments& arguments);
struct Named {
  std::string_view name;
  Function function;
};
/// Null if there is none. Filters: v | name(…); tests: v is name(…), true or false; methods: v.name(…).
[[nodiscard]] Function find_filter(std::string_view name);
[[nodiscard]] Function find_test(std::string_view name);
[[nodiscard]] Function find_method(const Value& v, std::string_view name);
/// Whether Python has the method, and we do not, or the sandbox forbids it.
[[nodiscard]] bool is_missing_method(const Value& v, std::string_view name);
/// range, namespace, …; null if there is none.
[[nodiscard]] const Value* find_global(std::string_view name);

/// Arguments by name or position; null where not given. Refuses others.
class Bound {
 public:
  [[nodiscard]] static Result<Bound> bind(const Arguments& arguments,
                                          std::initializer_list<std::string_view> names, size_t required = 0);
  [[nodiscard]] const Value* operator[](size_t i) const { return values_[i]; }
  [[nodiscard]] Result<std::string> text(size_t i, const std::string& fallback) const;
  [[nodiscard]] Result<int64_t> integer(size_t i, int64_t fallback) const;
  [[nodiscard]] bool flag(size_t i, bool fallback) const {
    return values_[i] == nullptr ? fallback : truth(*values_[i]);
  }

 private:
  std::vector<const Value*> values_;
  std::vector<std::string_view> names_;
};

}  // namespace lissom::chat
