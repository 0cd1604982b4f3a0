// Statements of Jinja's grammar.

#include <algorithm>
#include <utility>

#include "base/text.h"
#include "tokenizer/chat/expression_parser.h"
#include "tokenizer/chat/syntax.h"

namespace lissom::chat {
namespace {

class Parser : public ExpressionParser {
 public:
  using ExpressionParser::ExpressionParser;

  Result<Body> run() {
    LISSOM_TRY(Body body, statements({}));
    return body;
  }

 private:
  // ---------------------------------------------------------------- statements
  /// Until a block of one of these names, which stays the current token.
  Result<Body> statements(std::initializer_list<std::string_view> ends) {
    const Deeper deeper(depth_);
    LISSOM_CHECK(check_depth());
    Body body;
    for (;;) {
      const Token& t = now();
      if (t.kind == Kind::end) {
        if (ends.size() == 0) return body;
        return wrong(t.at, "the template ends where " + in_quotes(*(ends.end() - 1)) + " is expected");
      }
      if (t.kind == Kind::data) {
        Statement s;
        s.at = t.at;
        s.text = t.value;
        body.push_back(std::move(s));
        ++i_;
      } else if (t.kind == Kind::variable_begin) {
        Statement s;
        s.kind = Statement::Kind::output;
        s.at = t.at;
        ++i_;
        LISSOM_TRY(s.expression, tuple());
        if (now().kind != Kind::variable_end) return unexpected("'}}'");
        ++i_;
        body.push_back(std::move(s));
      } else {
        ++i_;  // block_begin: nothing else comes here
        if (now().kind == Kind::name && std::find(ends.begin(), ends.end(), now().value) != ends.end())
          return body;
        LISSOM_TRY(Statement s, statement());
        body.push_back(std::move(s));
      }
    }
  }

  struct Keyword {
    std::string_view name;
    Result<void> (Parser::*parse)(Statement& s);
  };
  static const Keyword kKeywords[];

  Result<Statement> statement() {
    if (now().kind != Kind::name) return unexpected("a tag");
    Statement s;
    s.at = now().at;
    for (const Keyword* k = kKeywords; !k->name.empty(); ++k) {
      if (now().value != k->name) continue;
      ++i_;
      LISSOM_CHECK((this->*k->parse)(s));
      LISSOM_CHECK(expect_block_end());
      return s;
    }
    return wrong(s.at, "unknown tag " + in_quotes(now().value));
  }

  /// "%}" body "{% name": the name is skipped.
  Result<Body> body_until(std::string_view end) {
    LISSOM_CHECK(expect_block_end());
    LISSOM_TRY(Body body, statements({end}));
    ++i_;
    return body;
  }

  Result<void> if_(Statement& s) {
    s.kind = Statement::Kind::if_;
    for (bool last = false;;) {
      ExpressionPtr condition;
      if (!last) {
        LISSOM_TRY(condition, tuple(false));
      }
      LISSOM_CHECK(expect_block_end());
      LISSOM_TRY(Body body, last ? statements({"endif"}) : statements({"elif", "else", "endif"}));
      s.branches.emplace_back(std::move(condition), std::move(body));
      const std::string name = tokens_[i_++].value;
      if (name == "endif") return {};
      last = name == "else";
    }
  }

  /// A name, or names in a tuple; with `attributes`, also namespace.name.
  Result<ExpressionPtr> target(bool attributes) {
    const size_t at = now().at;
    ExpressionPtr first;
    LISSOM_TRY(first, target_item(attributes));
    if (!is_op(",")) return first;
    auto e = make(Node::tuple, at);
    e->items.push_back(std::move(first));
    while (skip_op(",")) {
      if (is_name("in") || is_op("=")) break;
      LISSOM_TRY(ExpressionPtr next, target_item(attributes));
      e->items.push_back(std::move(next));
    }
    return e;
  }
  Result<ExpressionPtr> target_item(bool attributes) {
    const Deeper deeper(depth_);
    LISSOM_CHECK(check_depth());
    if (skip_op("(")) {
      LISSOM_TRY(ExpressionPtr inner, target(attributes));
      LISSOM_CHECK(expect_op(")"));
      return inner;
    }
    const size_t at = now().at;
    LISSOM_TRY(std::string name, expect_name());
    constexpr std::string_view kConstants[] = {"true", "false", "none", "True", "False", "None"};
    if (std::find(std::begin(kConstants), std::end(kConstants), name) != std::end(kConstants))
      return wrong(at, "cannot assign to " + in_quotes(name));
    auto e = make(Node::name, at, std::move(name));
    if (!attributes || !skip_op(".")) return e;
    LISSOM_TRY(std::string attribute, expect_name());
    auto a = make(Node::attribute, at, std::move(attribute));
    a->items.push_back(std::move(e));
    return a;
  }

  Result<void> for_(Statement& s) {
    s.kind = Statement::Kind::for_;
    LISSOM_TRY(s.target, target(false));
    if (!skip_name("in")) return unexpected("'in'");
    LISSOM_TRY(s.expression, tuple(false));
    if (skip_name("if")) {
      LISSOM_TRY(s.condition, expression());
    }
    if (is_name("recursive")) return wrong(now().at, "recursive loops are not supported");
    LISSOM_CHECK(expect_block_end());
    ++loops_;
    LISSOM_TRY(s.body, statements({"else", "endfor"}));
    --loops_;
    if (tokens_[i_++].value == "endfor") return {};
    LISSOM_TRY(s.otherwise, body_until("endfor"));
    return {};
  }
  Result<void> break_(Statement& s) {
    if (loops_ == 0) return wrong(s.at, "'break' outside of a loop");
    s.kind = Statement::Kind::break_;
    return {};
  }
  Result<void> continue_(Statement& s) {
    if (loops_ == 0) return wrong(s.at, "'continue' outside of a loop");
    s.kind = Statement::Kind::continue_;
    return {};
  }

  Result<void> set(Statement& s) {
    LISSOM_TRY(s.target, target(true));
    if (skip_op("=")) {
      s.kind = Statement::Kind::set;
      LISSOM_TRY(s.expression, tuple());
      return {};
    }
    s.kind = Statement::Kind::set_block;
    LISSOM_TRY(s.expression, filters(nullptr));
    LISSOM_TRY(s.body, inner_body("endset"));
    return {};
  }
  /// Loops outside do not count for what is a function of its own.
  Result<Body> inner_body(std::string_view end) {
    const int loops = std::exchange(loops_, 0);
    LISSOM_TRY(Body body, body_until(end));
    loops_ = loops;
    return body;
  }

  Result<void> parameters(Statement& s) {
    LISSOM_CHECK(expect_op("("));
    while (!skip_op(")")) {
      if (!s.parameters.empty()) LISSOM_CHECK(expect_op(","));
      if (skip_op(")")) break;
      Argument p;
      LISSOM_TRY(p.name, expect_name());
      if (skip_op("=")) {
        LISSOM_TRY(p.value, expression());
      } else if (!s.parameters.empty() && s.parameters.back().value) {
        return wrong(now().at, "a parameter without a default behind one with");
      }
      s.parameters.push_back(std::move(p));
    }
    return {};
  }
  Result<void> macro(Statement& s) {
    s.kind = Statement::Kind::macro;
    LISSOM_TRY(s.text, expect_name());
    LISSOM_CHECK(parameters(s));
    const int outside = std::exchange(mentions_, 0);
    LISSOM_TRY(s.body, inner_body("endmacro"));
    s.mentions = mentions_;
    mentions_ |= outside;
    return {};
  }
  Result<void> call_(Statement& s) {
    s.kind = Statement::Kind::call;
    if (is_op("(")) LISSOM_CHECK(parameters(s));
    LISSOM_TRY(s.expression, expression());
    if (s.expression->kind != Node::call) return wrong(s.at, "expected a call");
    const int outside = std::exchange(mentions_, 0);
    LISSOM_TRY(s.body, inner_body("endcall"));
    s.mentions = mentions_;
    mentions_ |= outside;
    return {};
  }
  Result<void> filter_(Statement& s) {
    s.kind = Statement::Kind::filter;
    LISSOM_TRY(ExpressionPtr first, filter(nullptr));
    LISSOM_TRY(s.expression, filters(std::move(first)));
    LISSOM_TRY(s.body, body_until("endfilter"));
    return {};
  }
  Result<void> with(Statement& s) {
    s.kind = Statement::Kind::with;
    while (now().kind != Kind::block_end) {
      if (!s.parameters.empty()) LISSOM_CHECK(expect_op(","));
      Argument p;
      LISSOM_TRY(p.name, expect_name());
      LISSOM_CHECK(expect_op("="));
      LISSOM_TRY(p.value, expression());
      s.parameters.push_back(std::move(p));
    }
    LISSOM_TRY(s.body, body_until("endwith"));
    return {};
  }
  Result<void> generation(Statement& s) {
    s.kind = Statement::Kind::scope;
    LISSOM_TRY(s.body, inner_body("endgeneration"));
    return {};
  }
};

// A tag is one function and one line here.
const Parser::Keyword Parser::kKeywords[] = {
    {"if", &Parser::if_},
    {"for", &Parser::for_},
    {"set", &Parser::set},
    {"macro", &Parser::macro},
    {"call", &Parser::call_},
    {"filter", &Parser::filter_},
    {"with", &Parser::with},
    {"break", &Parser::break_},
    {"continue", &Parser::continue_},
    {"generation", &Parser::generation},
    {"", nullptr},
};

}  // namespace

Result<Body> parse(std::string_view source, const std::string& origin) {
  LISSOM_TRY(std::vector<Token> tokens, tokenize(source, origin));
  return Parser(source, origin, std::move(tokens)).run();
}

}  // namespace lissom::chat
