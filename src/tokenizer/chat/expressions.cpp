// Expressions of a chat template, with Python's arithmetic.

#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "tokenizer/chat/interpreter.h"

namespace lissom::chat {
namespace {

tl::unexpected<Error> overflow() {
  return bad_input("an integer beyond 64 bits");
}

Result<Value> of_integers(char op, int64_t a, int64_t b) {
  int64_t out = 0;
  if (op == '+' && __builtin_add_overflow(a, b, &out)) return overflow();
  if (op == '-' && __builtin_sub_overflow(a, b, &out)) return overflow();
  if (op == '*' && __builtin_mul_overflow(a, b, &out)) return overflow();
  if (op == '+' || op == '-' || op == '*') return Value(out);
  if (b == 0) return bad_input("division by zero");
  if (b == -1) {
    if (op == '%') return Value(int64_t{0});
    if (a == INT64_MIN) return overflow();
    return Value(-a);
  }
  const int64_t quotient = a / b, rest = a % b;
  const bool down = rest != 0 && (rest < 0) != (b < 0);  // Python rounds down
  return op == '%' ? Value(down ? rest + b : rest) : Value(down ? quotient - 1 : quotient);
}

Result<Value> power(const Value& a, const Value& b) {
  int64_t base = 0, exponent = 0;
  if (a.integer(base) && b.integer(exponent) && exponent >= 0) {
    int64_t out = 1;
    if (base == 0 || base == 1) return Value(exponent == 0 ? int64_t{1} : base);
    if (base == -1) return Value(exponent % 2 == 0 ? int64_t{1} : int64_t{-1});
    for (; exponent > 0; --exponent)
      if (__builtin_mul_overflow(out, base, &out)) return overflow();
    return Value(out);
  }
  double x = 0, y = 0;
  if (!a.number(x) || !b.number(y)) return bad_input("not a number");
  if (x == 0 && y < 0) return bad_input("0.0 cannot be raised to a negative power");
  if (x < 0 && y != std::floor(y)) return bad_input("a complex number");
  const double out = std::pow(x, y);
  if (std::isinf(out) && !std::isinf(x) && !std::isinf(y)) return bad_input("a float out of range");
  return Value(out);
}

Result<Value> of_floats(const std::string& op, double a, double b) {
  if (op == "+") return Value(a + b);
  if (op == "-") return Value(a - b);
  if (op == "*") return Value(a * b);
  if (b == 0) return bad_input("division by zero");
  if (op == "/") return Value(a / b);
  double rest = std::fmod(a, b);
  double quotient = (a - rest) / b;
  if (rest != 0 && (rest < 0) != (b < 0)) {
    rest += b;
    quotient -= 1;
  }
  if (op == "%") return Value(rest == 0 ? std::copysign(0.0, b) : rest);
  double floored = std::floor(quotient);
  if (quotient - floored > 0.5) floored += 1;
  return Value(quotient == 0 ? std::copysign(0.0, a / b) : floored);
}

bool is_list(const Value& v) {
  const auto* s = v.as<std::shared_ptr<Sequence>>();
  return s != nullptr && ((*s)->kind == Sequence::Kind::list || (*s)->kind == Sequence::Kind::tuple);
}

Result<Value> repeat(const Value& v, int64_t times, Budget& budget) {
  times = std::max<int64_t>(times, 0);
  const auto n = static_cast<size_t>(times);
  if (const std::string* text = v.text()) {
    if (!text->empty() && n > (size_t{1} << 40) / text->size())
      return bad_input("the template makes too much text");
    LISSOM_CHECK(budget.charge(text->size() * n));
    std::string out;
    for (size_t i = 0; i < n && !text->empty(); ++i) out += *text;
    return string_value(std::move(out));
  }
  const Sequence& s = **v.as<std::shared_ptr<Sequence>>();
  if (!s.items.empty() && n > (size_t{1} << 32) / s.items.size())
    return bad_input("the template makes too much text");
  LISSOM_CHECK(budget.charge(s.items.size() * n * sizeof(Value)));
  std::vector<Value> out;
  for (size_t i = 0; i < n && !s.items.empty(); ++i) out.insert(out.end(), s.items.begin(), s.items.end());
  return make_sequence(std::move(out), s.kind, budget);
}

}  // namespace

Result<Value> arithmetic(const std::string& op, const Value& a, const Value& b, Budget& budget) {
  if (op == "%" && a.text() != nullptr) return bad_input("formatting by '%' is not supported");
  for (const Value* v : {&a, &b})
    if (const auto* u = v->as<Undefined>(); u != nullptr && u->why) return bad_input(*u->why);
  int64_t i = 0, j = 0;
  double x = 0, y = 0;
  if (a.number(x) && b.number(y)) {
    if (op == "**") return power(a, b);
    if (op != "/" && a.integer(i) && b.integer(j)) return of_integers(op[0], i, j);
    return of_floats(op, x, y);
  }
  if (op == "+" && a.text() != nullptr && b.text() != nullptr) {
    LISSOM_CHECK(budget.charge(a.text()->size() + b.text()->size()));
    return string_value(*a.text() + *b.text());
  }
  if (op == "+" && is_list(a) && is_list(b)) {
    const Sequence& s = **a.as<std::shared_ptr<Sequence>>();
    const Sequence& t = **b.as<std::shared_ptr<Sequence>>();
    if (s.kind == t.kind) {
      std::vector<Value> all = s.items;
      all.insert(all.end(), t.items.begin(), t.items.end());
      return make_sequence(std::move(all), s.kind, budget);
    }
  }
  if (op == "*" && b.integer(j) && (a.text() != nullptr || is_list(a))) return repeat(a, j, budget);
  if (op == "*" && a.integer(i) && (b.text() != nullptr || is_list(b))) return repeat(b, i, budget);
  return bad_input("unsupported operand type(s) for " + op + ": '" + type_name(a) + "' and '" + type_name(b) +
                   "'");
}

Result<Value> Interpreter::evaluate(const Expression& e) {
  LISSOM_CHECK(budget_.step());
  const Deeper deeper(budget_.depth);
  if (budget_.depth > Budget::kMaxDepth) return bad_input("nested too deep");
  auto v = evaluate_node(e);
  if (!v && !std::exchange(located_, true)) return error_at(source_, origin_, e.at, v.error().message);
  return v;
}

Result<std::vector<Value>> Interpreter::evaluate_all(const std::vector<ExpressionPtr>& items) {
  std::vector<Value> values;
  values.reserve(items.size());
  for (const ExpressionPtr& item : items) {
    LISSOM_TRY(Value v, evaluate(*item));
    values.push_back(std::move(v));
  }
  return values;
}

Result<Value> Interpreter::evaluate_node(const Expression& e) {
  using Kind = Expression::Kind;
  switch (e.kind) {
    case Kind::constant:
      return e.value;
    case Kind::name:
      return evaluate_name(e);
    case Kind::list:
    case Kind::tuple: {
      LISSOM_TRY(std::vector<Value> items, evaluate_all(e.items));
      return make_sequence(std::move(items),
                           e.kind == Kind::list ? Sequence::Kind::list : Sequence::Kind::tuple, budget_);
    }
    case Kind::dict:
      return evaluate_dict(e);
    case Kind::attribute: {
      LISSOM_TRY(const Value v, evaluate(*e.items[0]));
      return attribute(v, e.text);
    }
    case Kind::item:
      return evaluate_item(e);
    case Kind::slice:
      return bad_input("a slice outside of an index");
    case Kind::call:
      return evaluate_call(e);
    case Kind::filter:
      return evaluate_filter(e);
    case Kind::test:
      return evaluate_test(e);
    case Kind::negate:
    case Kind::minus:
    case Kind::plus:
      return evaluate_unary(e);
    case Kind::logical_and:
    case Kind::logical_or: {
      LISSOM_TRY(Value left, evaluate(*e.items[0]));
      if (truth(left) == (e.kind == Kind::logical_or)) return left;
      return evaluate(*e.items[1]);
    }
    case Kind::binary: {
      LISSOM_TRY(const Value left, evaluate(*e.items[0]));
      LISSOM_TRY(const Value right, evaluate(*e.items[1]));
      return arithmetic(e.text, left, right, budget_);
    }
    case Kind::concat:
      return evaluate_concat(e);
    case Kind::compare:
      return evaluate_compare(e);
    case Kind::conditional:
      break;
  }
  LISSOM_TRY(const Value condition, evaluate(*e.items[0]));
  if (truth(condition)) return evaluate(*e.items[1]);
  if (e.items[2]) return evaluate(*e.items[2]);
  return undefined("the inline if-expression evaluated to false and no else section was defined");
}

Result<Value> Interpreter::evaluate_name(const Expression& e) {
  if (const Value* v = scope_->find(e.text)) return *v;
  if (const Value* v = find_global(e.text)) return *v;
  return undefined(in_quotes(e.text) + " is undefined");
}

Result<Value> Interpreter::evaluate_dict(const Expression& e) {
  LISSOM_TRY(std::vector<Value> all, evaluate_all(e.items));
  std::vector<std::pair<Value, Value>> items;
  for (size_t i = 0; i + 1 < all.size(); i += 2) items.emplace_back(std::move(all[i]), std::move(all[i + 1]));
  return make_dict(items, budget_);
}

Result<Value> Interpreter::evaluate_item(const Expression& e) {
  LISSOM_TRY(const Value v, evaluate(*e.items[0]));
  if (e.items[1]->kind == Expression::Kind::slice) return evaluate_slice(v, *e.items[1]);
  LISSOM_TRY(const Value key, evaluate(*e.items[1]));
  return item(v, key);
}

Result<Value> Interpreter::evaluate_slice(const Value& v, const Expression& slice) {
  const auto* s = v.as<std::shared_ptr<Sequence>>();
  const std::string* text = v.text();
  if (v.is<Undefined>()) return item(v, Value(int64_t{0}));
  std::u32string characters;
  if (text != nullptr) {
    characters = code_points(*text);
  } else if (s == nullptr || (*s)->kind == Sequence::Kind::generator || (*s)->kind == Sequence::Kind::view) {
    return bad_input(std::string("'") + type_name(v) + "' object is not sliced");
  }
  const auto n = static_cast<int64_t>(text != nullptr ? characters.size() : (*s)->items.size());
  int64_t bounds[3] = {0, 0, 1};
  bool given[3] = {};
  for (size_t k = 0; k < 3; ++k) {
    if (!slice.items[k]) continue;
    LISSOM_TRY(const Value bound, evaluate(*slice.items[k]));
    if (bound.is<None>()) continue;
    if (!bound.integer(bounds[k])) return bad_input("slice indices must be integers or None");
    given[k] = true;
  }
  const int64_t step = given[2] ? bounds[2] : 1;
  if (step == 0) return bad_input("slice step cannot be zero");
  const auto clamp = [&](size_t k, int64_t fallback) {
    if (!given[k]) return fallback;
    const int64_t low = step > 0 ? 0 : -1, high = step > 0 ? n : n - 1;
    const int64_t at = bounds[k] < 0 ? (bounds[k] < -n ? -1 : bounds[k] + n) : bounds[k];
    return std::clamp(at, low, std::max(low, high));
  };
  const int64_t begin = clamp(0, step > 0 ? 0 : n - 1), end = clamp(1, step > 0 ? n : -1);
  std::u32string picked;
  std::vector<Value> items;
  for (int64_t i = begin; step > 0 ? i < end : i > end;) {
    if (text != nullptr) {
      picked += characters[static_cast<size_t>(i)];
    } else {
      items.push_back((*s)->items[static_cast<size_t>(i)]);
    }
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  if (text != nullptr) return make_text(utf8(picked), budget_);
  const auto kind = (*s)->kind == Sequence::Kind::tuple ? Sequence::Kind::tuple : Sequence::Kind::list;
  if ((*s)->kind == Sequence::Kind::range) return bad_input("a slice of a range is not supported");
  return make_sequence(std::move(items), kind, budget_);
}

Result<Arguments> Interpreter::evaluate_arguments(const std::vector<Argument>& arguments) {
  Arguments out;
  for (const Argument& a : arguments) {
    LISSOM_TRY(Value v, evaluate(*a.value));
    if (a.name.empty()) {
      out.positional.push_back(std::move(v));
    } else {
      out.named.emplace_back(a.name, std::move(v));
    }
  }
  return out;
}

Result<Value> Interpreter::evaluate_call(const Expression& e) {
  LISSOM_TRY(const Value callee, evaluate(*e.items[0]));
  LISSOM_TRY(const Arguments arguments, evaluate_arguments(e.arguments));
  return call(callee, arguments);
}

Result<Value> Interpreter::evaluate_filter(const Expression& e) {
  const Function filter = find_filter(e.text);
  if (filter == nullptr) return bad_input("no filter named " + in_quotes(e.text));
  Value v = e.items[0] || filtered_ == nullptr ? Value() : *filtered_;
  if (e.items[0]) {
    LISSOM_TRY(v, evaluate(*e.items[0]));
  }
  LISSOM_TRY(const Arguments arguments, evaluate_arguments(e.arguments));
  return filter(*this, v, arguments);
}

Result<Value> Interpreter::evaluate_test(const Expression& e) {
  const Function test = find_test(e.text);
  if (test == nullptr) return bad_input("no test named " + in_quotes(e.text));
  LISSOM_TRY(const Value v, evaluate(*e.items[0]));
  LISSOM_TRY(const Arguments arguments, evaluate_arguments(e.arguments));
  return test(*this, v, arguments);
}

Result<Value> Interpreter::evaluate_unary(const Expression& e) {
  LISSOM_TRY(const Value v, evaluate(*e.items[0]));
  if (e.kind == Expression::Kind::negate) return Value(!truth(v));
  const bool minus = e.kind == Expression::Kind::minus;
  if (int64_t i = 0; v.integer(i)) {
    if (minus && i == INT64_MIN) return overflow();
    return Value(minus ? -i : i);
  }
  if (double d = 0; v.number(d)) return Value(minus ? -d : d);
  return arithmetic(minus ? "-" : "+", v, Value(int64_t{0}), budget_);
}

Result<Value> Interpreter::evaluate_concat(const Expression& e) {
  std::string all;
  for (const ExpressionPtr& item : e.items) {
    LISSOM_TRY(const Value v, evaluate(*item));
    LISSOM_TRY(const std::string text, to_text(v, budget_));
    all += text;
  }
  return make_text(std::move(all), budget_);
}

Result<bool> Interpreter::compare(const std::string& op, const Value& a, const Value& b) {
  if (op == "==" || op == "!=") {
    LISSOM_TRY(const bool same, equal(a, b, budget_));
    return same == (op == "==");
  }
  if (op == "in" || op == "not in") {
    LISSOM_TRY(const bool inside, contains(b, a, budget_));
    return inside == (op == "in");
  }
  for (const Value* v : {&a, &b})
    if (const auto* u = v->as<Undefined>(); u != nullptr && u->why) return bad_input(*u->why);
  double x = 0, y = 0;
  if (a.number(x) && b.number(y) && (std::isnan(x) || std::isnan(y))) return false;
  if (op == "<" || op == ">=") {
    LISSOM_TRY(const bool is_less, less(a, b, budget_));
    return is_less == (op == "<");
  }
  LISSOM_TRY(const bool is_greater, less(b, a, budget_));
  return is_greater == (op == ">");
}

Result<Value> Interpreter::evaluate_compare(const Expression& e) {
  LISSOM_TRY(Value left, evaluate(*e.items[0]));
  for (size_t i = 0; i < e.operators.size(); ++i) {
    LISSOM_TRY(Value right, evaluate(*e.items[i + 1]));
    LISSOM_TRY(const bool holds, compare(e.operators[i], left, right));
    if (!holds) return Value(false);
    left = std::move(right);
  }
  return Value(true);
}

}  // namespace lissom::chat
