#pragma once
// Expressions of Jinja's grammar, by recursive descent in the order of its own parser, so that precedence
// agrees. Included by parser.cpp alone.

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/text.h"
#include "tokenizer/chat/interpreter.h"
#include "tokenizer/chat/syntax.h"

namespace lissom::chat {

/// Parses from a list of tokens, whose last is the end.
class ExpressionParser {
 public:
  ExpressionParser(std::string_view source, const std::string& origin, std::vector<Token> tokens)
      : source_(source), origin_(origin), tokens_(std::move(tokens)) {}

 protected:
  static constexpr int kMaxDepth = 120;
  using Kind = Token::Kind;
  using Node = Expression::Kind;

  // ---------------------------------------------------------------- tokens
  [[nodiscard]] const Token& now() const { return tokens_[i_]; }
  [[nodiscard]] const Token& ahead() const { return tokens_[std::min(i_ + 1, tokens_.size() - 1)]; }
  [[nodiscard]] bool is_op(std::string_view op) const { return now().kind == Kind::op && now().value == op; }
  [[nodiscard]] bool is_name(std::string_view name) const {
    return now().kind == Kind::name && now().value == name;
  }
  bool skip_op(std::string_view op) {
    if (!is_op(op)) return false;
    ++i_;
    return true;
  }
  bool skip_name(std::string_view name) {
    if (!is_name(name)) return false;
    ++i_;
    return true;
  }
  [[nodiscard]] tl::unexpected<Error> wrong(size_t at, const std::string& message) const {
    return error_at(source_, origin_, at, message);
  }
  [[nodiscard]] tl::unexpected<Error> unexpected(const std::string& expected) const {
    constexpr const char* kNames[] = {"text",     "'{{'", "'}}'", "'{%'", "'%}'",   "",
                                      "a string", "",     "",     "",     "the end"};
    const Token& t = now();
    const bool named = !t.value.empty() && t.kind != Kind::data && t.kind != Kind::text;
    return wrong(t.at, "expected " + expected + ", got " +
                           (named ? in_quotes(t.value) : std::string(kNames[static_cast<size_t>(t.kind)])));
  }
  Result<void> expect_op(std::string_view op) {
    if (!skip_op(op)) return unexpected(in_quotes(op));
    return {};
  }
  Result<std::string> expect_name() {
    if (now().kind != Kind::name) return unexpected("a name");
    return tokens_[i_++].value;
  }
  Result<void> expect_block_end() {
    if (now().kind != Kind::block_end) return unexpected("'%}'");
    ++i_;
    return {};
  }

  [[nodiscard]] Result<void> check_depth() const {
    if (depth_ > kMaxDepth) return wrong(now().at, "nested too deep");
    return {};
  }

  // ---------------------------------------------------------------- expressions
  static ExpressionPtr make(Node kind, size_t at, std::string text = {}) {
    auto e = std::make_unique<Expression>();
    e->kind = kind;
    e->at = at;
    e->text = std::move(text);
    return e;
  }
  static ExpressionPtr two(Node kind, size_t at, ExpressionPtr a, ExpressionPtr b, std::string text = {}) {
    auto e = make(kind, at, std::move(text));
    e->items.push_back(std::move(a));
    e->items.push_back(std::move(b));
    return e;
  }

  Result<ExpressionPtr> expression(bool with_condition = true) {
    const Deeper deeper(depth_);
    LISSOM_CHECK(check_depth());
    if (!with_condition) return or_();
    LISSOM_TRY(ExpressionPtr e, or_());
    while (is_name("if")) {
      const size_t at = tokens_[i_++].at;
      auto c = make(Node::conditional, at);
      LISSOM_TRY(ExpressionPtr condition, or_());
      c->items.push_back(std::move(condition));
      c->items.push_back(std::move(e));
      c->items.push_back(nullptr);
      if (skip_name("else")) {
        LISSOM_TRY(c->items[2], expression());
      }
      e = std::move(c);
    }
    return e;
  }

  using Rule = Result<ExpressionPtr> (ExpressionParser::*)();
  Result<ExpressionPtr> or_() {
    LISSOM_TRY(ExpressionPtr left, and_());
    while (is_name("or")) {
      const size_t at = tokens_[i_++].at;
      LISSOM_TRY(ExpressionPtr right, and_());
      left = two(Node::logical_or, at, std::move(left), std::move(right));
    }
    return left;
  }
  Result<ExpressionPtr> and_() {
    LISSOM_TRY(ExpressionPtr left, not_());
    while (is_name("and")) {
      const size_t at = tokens_[i_++].at;
      LISSOM_TRY(ExpressionPtr right, not_());
      left = two(Node::logical_and, at, std::move(left), std::move(right));
    }
    return left;
  }
  Result<ExpressionPtr> not_() {
    if (!is_name("not")) return compare();
    const Deeper deeper(depth_);
    LISSOM_CHECK(check_depth());
    auto e = make(Node::negate, tokens_[i_++].at);
    LISSOM_TRY(ExpressionPtr inner, not_());
    e->items.push_back(std::move(inner));
    return e;
  }
  Result<ExpressionPtr> compare() {
    const size_t at = now().at;
    LISSOM_TRY(ExpressionPtr left, sum());
    ExpressionPtr chain;
    for (;;) {
      std::string op;
      constexpr std::string_view kOps[] = {"==", "!=", "<", "<=", ">", ">="};
      if (now().kind == Kind::op &&
          std::find(std::begin(kOps), std::end(kOps), now().value) != std::end(kOps)) {
        op = tokens_[i_++].value;
      } else if (skip_name("in")) {
        op = "in";
      } else if (is_name("not") && ahead().kind == Kind::name && ahead().value == "in") {
        i_ += 2;
        op = "not in";
      } else {
        break;
      }
      if (!chain) {
        chain = make(Node::compare, at);
        chain->items.push_back(std::move(left));
      }
      chain->operators.push_back(op);
      LISSOM_TRY(ExpressionPtr right, sum());
      chain->items.push_back(std::move(right));
    }
    return chain ? std::move(chain) : std::move(left);
  }
  Result<ExpressionPtr> left_chain(Rule next, std::initializer_list<std::string_view> ops) {
    LISSOM_TRY(ExpressionPtr left, (this->*next)());
    while (now().kind == Kind::op && std::find(ops.begin(), ops.end(), now().value) != ops.end()) {
      const Token op = tokens_[i_++];
      LISSOM_TRY(ExpressionPtr right, (this->*next)());
      left = two(Node::binary, op.at, std::move(left), std::move(right), op.value);
    }
    return left;
  }
  Result<ExpressionPtr> sum() { return left_chain(&ExpressionParser::concat, {"+", "-"}); }
  Result<ExpressionPtr> concat() {
    LISSOM_TRY(ExpressionPtr first, product());
    if (!is_op("~")) return first;
    auto e = make(Node::concat, now().at);
    e->items.push_back(std::move(first));
    while (skip_op("~")) {
      LISSOM_TRY(ExpressionPtr next, product());
      e->items.push_back(std::move(next));
    }
    return e;
  }
  Result<ExpressionPtr> product() { return left_chain(&ExpressionParser::power, {"*", "/", "//", "%"}); }
  Result<ExpressionPtr> power() { return left_chain(&ExpressionParser::unary_with_filter, {"**"}); }
  Result<ExpressionPtr> unary_with_filter() { return unary(true); }

  Result<ExpressionPtr> unary(bool with_filter) {
    const Deeper deeper(depth_);
    LISSOM_CHECK(check_depth());
    const size_t at = now().at;
    ExpressionPtr e;
    if (is_op("-") || is_op("+")) {
      e = make(is_op("-") ? Node::minus : Node::plus, at);
      ++i_;
      LISSOM_TRY(ExpressionPtr inner, unary(false));
      e->items.push_back(std::move(inner));
    } else {
      LISSOM_TRY(e, primary());
    }
    LISSOM_TRY(e, postfix(std::move(e)));
    if (!with_filter) return e;
    return filters(std::move(e));
  }

  Result<ExpressionPtr> primary() {
    const Token& t = now();
    auto e = make(Node::constant, t.at);
    switch (t.kind) {
      case Kind::name: {
        const std::string& n = t.value;
        if (n == "true" || n == "True" || n == "false" || n == "False") {
          e->value = Value(n == "true" || n == "True");
        } else if (n == "none" || n == "None") {
          e->value = Value(None{});
        } else {
          e = make(Node::name, t.at, n);
          mentions_ |= n == "caller" ? kCaller : n == "varargs" ? kVarargs : n == "kwargs" ? kKwargs : 0;
        }
        ++i_;
        return e;
      }
      case Kind::text: {
        std::string all;
        while (now().kind == Kind::text) all += tokens_[i_++].value;
        e->value = string_value(std::move(all));
        return e;
      }
      case Kind::integer: {
        int64_t value = 0;
        const auto [end, failed] = std::from_chars(t.value.data(), t.value.data() + t.value.size(), value);
        if (failed != std::errc()) return wrong(t.at, "an integer beyond 64 bits");
        e->value = Value(value);
        ++i_;
        return e;
      }
      case Kind::number:
        e->value = Value(std::strtod(t.value.c_str(), nullptr));
        ++i_;
        return e;
      default:
        break;
    }
    if (is_op("(")) return parenthesis();
    if (is_op("[")) return list();
    if (is_op("{")) return dict();
    return unexpected("an expression");
  }

  Result<ExpressionPtr> parenthesis() {
    const size_t at = tokens_[i_++].at;
    if (skip_op(")")) return make(Node::tuple, at);
    LISSOM_TRY(ExpressionPtr first, expression());
    if (skip_op(")")) return first;
    auto e = make(Node::tuple, at);
    e->items.push_back(std::move(first));
    while (!skip_op(")")) {
      LISSOM_CHECK(expect_op(","));
      if (skip_op(")")) break;
      LISSOM_TRY(ExpressionPtr next, expression());
      e->items.push_back(std::move(next));
    }
    return e;
  }
  Result<ExpressionPtr> list() {
    auto e = make(Node::list, tokens_[i_++].at);
    while (!skip_op("]")) {
      if (!e->items.empty()) LISSOM_CHECK(expect_op(","));
      if (skip_op("]")) break;
      LISSOM_TRY(ExpressionPtr next, expression());
      e->items.push_back(std::move(next));
    }
    return e;
  }
  Result<ExpressionPtr> dict() {
    auto e = make(Node::dict, tokens_[i_++].at);
    while (!skip_op("}")) {
      if (!e->items.empty()) LISSOM_CHECK(expect_op(","));
      if (skip_op("}")) break;
      LISSOM_TRY(ExpressionPtr key, expression());
      LISSOM_CHECK(expect_op(":"));
      LISSOM_TRY(ExpressionPtr value, expression());
      e->items.push_back(std::move(key));
      e->items.push_back(std::move(value));
    }
    return e;
  }

  Result<ExpressionPtr> postfix(ExpressionPtr e) {
    // Every link is one level of evaluation.
    for (int links = 0;; ++links) {
      if (links > kMaxDepth) return wrong(now().at, "nested too deep");
      const size_t at = now().at;
      if (is_op("(")) {
        LISSOM_TRY(e, call(std::move(e)));
      } else if (skip_op(".")) {
        if (now().kind == Kind::integer) {
          auto index = make(Node::constant, now().at);
          index->value = Value(static_cast<int64_t>(std::strtoll(tokens_[i_++].value.c_str(), nullptr, 10)));
          e = two(Node::item, at, std::move(e), std::move(index));
          continue;
        }
        LISSOM_TRY(std::string name, expect_name());
        auto a = make(Node::attribute, at, std::move(name));
        a->items.push_back(std::move(e));
        e = std::move(a);
      } else if (skip_op("[")) {
        LISSOM_TRY(ExpressionPtr index, subscript());
        LISSOM_CHECK(expect_op("]"));
        e = two(Node::item, at, std::move(e), std::move(index));
      } else {
        return e;
      }
    }
  }
  Result<ExpressionPtr> subscript() {
    const size_t at = now().at;
    ExpressionPtr first;
    if (!is_op(":")) {
      LISSOM_TRY(first, expression());
      if (!is_op(":")) {
        if (is_op(",")) return wrong(now().at, "an index of several values is not supported");
        return first;
      }
    }
    auto e = make(Node::slice, at);
    e->items.push_back(std::move(first));
    for (int i = 0; i < 2; ++i) {
      ExpressionPtr part;
      if (skip_op(":") && !is_op("]") && !is_op(":")) {
        LISSOM_TRY(part, expression());
      }
      e->items.push_back(std::move(part));
    }
    return e;
  }

  Result<std::vector<Argument>> arguments() {
    LISSOM_CHECK(expect_op("("));
    std::vector<Argument> all;
    while (!skip_op(")")) {
      if (!all.empty()) LISSOM_CHECK(expect_op(","));
      if (skip_op(")")) break;
      if (is_op("*") || is_op("**")) return wrong(now().at, "unpacking arguments is not supported");
      Argument a;
      if (now().kind == Kind::name && ahead().kind == Kind::op && ahead().value == "=") {
        a.name = now().value;
        i_ += 2;
      } else if (!all.empty() && !all.back().name.empty()) {
        return wrong(now().at, "a positional argument behind a named one");
      }
      LISSOM_TRY(a.value, expression());
      all.push_back(std::move(a));
    }
    return all;
  }
  Result<ExpressionPtr> call(ExpressionPtr callee) {
    auto e = make(Node::call, now().at);
    e->items.push_back(std::move(callee));
    LISSOM_TRY(e->arguments, arguments());
    return e;
  }
  Result<std::string> dotted_name() {
    LISSOM_TRY(std::string name, expect_name());
    while (skip_op(".")) {
      LISSOM_TRY(const std::string part, expect_name());
      name += "." + part;
    }
    return name;
  }
  Result<ExpressionPtr> filter(ExpressionPtr e) {
    const size_t at = now().at;
    LISSOM_TRY(std::string name, dotted_name());
    if (find_filter(name) == nullptr) return wrong(at, "no filter named " + in_quotes(name));
    auto f = make(Node::filter, at, std::move(name));
    f->items.push_back(std::move(e));
    if (is_op("(")) {
      LISSOM_TRY(f->arguments, arguments());
    }
    return f;
  }
  Result<ExpressionPtr> filters(ExpressionPtr e) {
    for (int links = 0;; ++links) {
      if (links > kMaxDepth) return wrong(now().at, "nested too deep");
      if (skip_op("|")) {
        LISSOM_TRY(e, filter(std::move(e)));
      } else if (is_name("is")) {
        LISSOM_TRY(e, test(std::move(e)));
      } else if (is_op("(")) {
        LISSOM_TRY(e, call(std::move(e)));
      } else {
        return e;
      }
    }
  }
  Result<ExpressionPtr> test(ExpressionPtr e) {
    const size_t at = tokens_[i_++].at;
    const bool negated = skip_name("not");
    LISSOM_TRY(std::string name, dotted_name());
    if (find_test(name) == nullptr) return wrong(at, "no test named " + in_quotes(name));
    auto t = make(Node::test, at, std::move(name));
    t->items.push_back(std::move(e));
    if (is_op("(")) {
      LISSOM_TRY(t->arguments, arguments());
    } else if (((now().kind == Kind::name && !is_name("else") && !is_name("or") && !is_name("and")) ||
                now().kind == Kind::text || now().kind == Kind::integer || now().kind == Kind::number ||
                is_op("[") || is_op("{"))) {
      if (is_name("is")) return wrong(now().at, "tests cannot be chained");
      LISSOM_TRY(ExpressionPtr argument, primary());
      Argument a;
      LISSOM_TRY(a.value, postfix(std::move(argument)));
      t->arguments.push_back(std::move(a));
    }
    if (!negated) return t;
    auto n = make(Node::negate, at);
    n->items.push_back(std::move(t));
    return n;
  }
  /// a, b: a tuple without parentheses; one expression is itself.
  Result<ExpressionPtr> tuple(bool with_condition = true) {
    const size_t at = now().at;
    LISSOM_TRY(ExpressionPtr first, expression(with_condition));
    if (!is_op(",")) return first;
    auto e = make(Node::tuple, at);
    e->items.push_back(std::move(first));
    while (skip_op(",")) {
      const bool ends =
          now().kind == Kind::block_end || now().kind == Kind::variable_end || is_op("=") || is_name("in");
      if (ends) break;
      LISSOM_TRY(ExpressionPtr next, expression(with_condition));
      e->items.push_back(std::move(next));
    }
    return e;
  }

  std::string_view source_;
  const std::string& origin_;
  std::vector<Token> tokens_;
  size_t i_ = 0;
  int depth_ = 0, loops_ = 0, mentions_ = 0;
};

}  // namespace lissom::chat
