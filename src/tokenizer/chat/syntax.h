#pragma once
// A chat template taken apart: tokens and syntax tree of the Jinja subset. Included by .cpp files only.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lissom/result.h"
#include "tokenizer/chat/value.h"

namespace lissom::chat {

struct Token {
  enum class Kind {
    data,
    variable_begin,
    variable_end,
    block_begin,
    block_end,
    name,
    text,
    integer,
    number,
    op,
    end
  };
  Kind kind = Kind::end;
  std::string value;  ///< of a text: with escapes resolved
  size_t at = 0;      ///< byte of the source
};

/// The source with "\n" for each line end and without the last one; `at` counts in it.
[[nodiscard]] std::string normalize_source(std::string_view source);
/// trim_blocks and lstrip_blocks are on, as transformers sets them.
[[nodiscard]] Result<std::vector<Token>> tokenize(std::string_view source, const std::string& origin);
/// "origin:line:column: message"
[[nodiscard]] tl::unexpected<Error> error_at(std::string_view source, const std::string& origin, size_t at,
                                             const std::string& message);

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

struct Argument {
  std::string name;  ///< empty: positional
  ExpressionPtr value;
};

struct Expression {
  enum class Kind {
    constant,     // value
    name,         // text
    list,         // items
    tuple,        // items
    dict,         // items: key, value, key, value
    attribute,    // items[0] . text
    item,         // items[0] [ items[1] ]
    slice,        // items: start, stop, step; each may be null
    call,         // items[0] ( arguments )
    filter,       // items[0] | text ( arguments ); items[0] is null in a filter block
    test,         // items[0] is text ( arguments )
    negate,       // "not"
    minus,        // unary
    plus,         // unary
    logical_and,  // items[0], items[1]
    logical_or,
    binary,       // text: + - * / // % ** ; items
    concat,       // items ~ items
    compare,      // items[0], then operators[i] items[i + 1]
    conditional,  // items: condition, then, else (null: undefined)
  };
  Kind kind = Kind::constant;
  size_t at = 0;
  std::string text;
  Value value;
  std::vector<ExpressionPtr> items;
  std::vector<Argument> arguments;
  std::vector<std::string> operators;
};

struct Statement;
using Body = std::vector<Statement>;

/// Names that a macro gets where its body has them.
enum Special { kCaller = 1, kVarargs = 2, kKwargs = 4 };

struct Statement {
  enum class Kind {
    data,       // text
    output,     // expression
    if_,        // branches: expression and body each; the last may be without an expression
    for_,       // target, expression, condition (may be null), body, otherwise
    set,        // target, expression
    set_block,  // target, expression (a filter over null, or null), body
    macro,      // text, parameters, body
    call,       // expression (a call), parameters, body
    filter,     // expression over null, body
    with,       // parameters: name and value; body
    scope,      // body in a scope of its own: generation
    break_,
    continue_,
  };
  Kind kind = Kind::data;
  size_t at = 0;
  std::string text;
  int mentions = 0;  ///< of a macro or call: which special names its body has, as bits of Special
  ExpressionPtr target, expression, condition;
  std::vector<Argument> parameters;  ///< value: the default, or null
  Body body, otherwise;
  std::vector<std::pair<ExpressionPtr, Body>> branches;
};

[[nodiscard]] Result<Body> parse(std::string_view source, const std::string& origin);

/// Counts nesting while it lives, so that a hostile template does not use up the stack.
class Deeper {
 public:
  explicit Deeper(int& depth) : depth_(depth) { ++depth_; }
  ~Deeper() { --depth_; }
  Deeper(const Deeper&) = delete;
  Deeper& operator=(const Deeper&) = delete;

 private:
  int& depth_;
};

}  // namespace lissom::chat
