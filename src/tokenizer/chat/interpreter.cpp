// Statements of a chat template, and names, calls and attributes.

#include "tokenizer/chat/interpreter.h"

#include <algorithm>

#include "base/text.h"

namespace lissom::chat {
namespace {

constexpr size_t kMaxOutput = size_t{16} << 20;

/// Puts a scope in place, and the one before back.
class Enter {
 public:
  Enter(std::shared_ptr<Scope>& slot, std::shared_ptr<Scope> scope) : slot_(slot), before_(std::move(slot)) {
    slot_ = std::move(scope);
  }
  ~Enter() { slot_ = std::move(before_); }
  Enter(const Enter&) = delete;
  Enter& operator=(const Enter&) = delete;

 private:
  std::shared_ptr<Scope>& slot_;
  std::shared_ptr<Scope> before_;
};

std::shared_ptr<Scope> inside(const std::shared_ptr<Scope>& parent) {
  return std::make_shared<Scope>(Scope{{}, parent});
}

}  // namespace

const Value* Scope::find(std::string_view name) const {
  for (const Scope* s = this; s != nullptr; s = s->parent.get())
    for (const auto& [known, value] : s->variables)
      if (known == name) return &value;
  return nullptr;
}

void Scope::set(std::string_view name, Value value) {
  for (auto& [known, old] : variables)
    if (known == name) {
      old = std::move(value);
      return;
    }
  variables.emplace_back(name, std::move(value));
}

Interpreter::~Interpreter() {
  for (const auto& n : namespaces_) n->items.clear();
  for (const auto& s : captured_scopes_) s->variables.clear();
}

Value Interpreter::make_namespace(const std::vector<std::pair<Value, Value>>& items) {
  auto n = std::make_shared<Dict>();
  n->is_namespace = true;
  for (const auto& [k, v] : items) n->set(k, v);
  namespaces_.push_back(n);
  return Value(std::move(n));
}

Result<std::string> Interpreter::render(const Body& body, const Value& variables) {
  scope_ = std::make_shared<Scope>();
  if (const auto* d = variables.as<std::shared_ptr<Dict>>())
    for (const auto& [key, value] : (*d)->items)
      if (const std::string* name = key.text()) scope_->variables.emplace_back(*name, value);
  scope_ = inside(scope_);
  std::string out;
  LISSOM_CHECK(execute(body, out));
  return out;
}

Result<void> Interpreter::emit(std::string_view text, std::string& out) {
  LISSOM_CHECK(budget_.charge(text.size()));
  if (out.size() + text.size() > kMaxOutput) return bad_input("the text is longer than 16 MiB");
  out += text;
  return {};
}

Result<std::string> Interpreter::captured(const Body& body) {
  const Enter enter(scope_, inside(scope_));
  std::string text;
  LISSOM_CHECK(execute(body, text));
  return text;
}

Result<Interpreter::Flow> Interpreter::execute(const Body& body, std::string& out) {
  const Deeper deeper(budget_.depth);
  if (budget_.depth > Budget::kMaxDepth) return bad_input("nested too deep");
  for (const Statement& s : body) {
    LISSOM_CHECK(budget_.step());
    auto flow = execute_one(s, out);
    if (!flow) {
      if (std::exchange(located_, true)) return flow;
      return error_at(source_, origin_, s.at, flow.error().message);
    }
    if (*flow != Flow::on) return flow;
  }
  return Flow::on;
}

Result<Interpreter::Flow> Interpreter::execute_one(const Statement& s, std::string& out) {
  using Kind = Statement::Kind;
  switch (s.kind) {
    case Kind::data:
      LISSOM_CHECK(emit(s.text, out));
      return Flow::on;
    case Kind::output: {
      LISSOM_TRY(const Value v, evaluate(*s.expression));
      LISSOM_TRY(const std::string text, to_text(v, budget_));
      LISSOM_CHECK(emit(text, out));
      return Flow::on;
    }
    case Kind::if_:
      return run_if(s, out);
    case Kind::for_:
      LISSOM_CHECK(run_for(s, out));
      return Flow::on;
    case Kind::set: {
      LISSOM_TRY(const Value v, evaluate(*s.expression));
      LISSOM_CHECK(assign(*s.target, v));
      return Flow::on;
    }
    case Kind::set_block:
      LISSOM_CHECK(run_set(s));
      return Flow::on;
    case Kind::macro:
      scope_->set(s.text, make_macro(s, s.text));
      return Flow::on;
    case Kind::call:
      LISSOM_CHECK(run_call(s, out));
      return Flow::on;
    case Kind::filter: {
      LISSOM_TRY(std::string text, captured(s.body));
      const Value v = string_value(std::move(text));
      const Value* const before = std::exchange(filtered_, &v);
      auto result = evaluate(*s.expression);
      filtered_ = before;
      if (!result) return tl::unexpected(result.error());
      LISSOM_TRY(const std::string filtered, to_text(*result, budget_));
      LISSOM_CHECK(emit(filtered, out));
      return Flow::on;
    }
    case Kind::with:
      LISSOM_CHECK(run_with(s, out));
      return Flow::on;
    case Kind::scope: {
      LISSOM_TRY(const std::string text, captured(s.body));
      LISSOM_CHECK(emit(text, out));
      return Flow::on;
    }
    case Kind::break_:
      return Flow::leave;
    case Kind::continue_:
      break;
  }
  return Flow::next;
}

Result<Interpreter::Flow> Interpreter::run_if(const Statement& s, std::string& out) {
  for (const auto& [condition, body] : s.branches) {
    if (condition) {
      LISSOM_TRY(const Value v, evaluate(*condition));
      if (!truth(v)) continue;
    }
    return execute(body, out);
  }
  return Flow::on;
}

Result<std::vector<Value>> Interpreter::loop_items(const Statement& s) {
  LISSOM_TRY(const Value iterable, evaluate(*s.expression));
  LISSOM_TRY(std::vector<Value> items, iterate(iterable, budget_));
  if (!s.condition) return items;
  std::vector<Value> kept;
  for (Value& item : items) {
    const Enter enter(scope_, inside(scope_));
    LISSOM_CHECK(assign(*s.target, item));
    LISSOM_TRY(const Value keep, evaluate(*s.condition));
    if (truth(keep)) kept.push_back(std::move(item));
  }
  return kept;
}

Result<void> Interpreter::run_for(const Statement& s, std::string& out) {
  LISSOM_TRY(const std::vector<Value> items, loop_items(s));
  LISSOM_TRY(const bool completed, run_loop(s, items, out));
  // As in Jinja, a body that always ends by break or continue counts as not run.
  if (completed || s.otherwise.empty()) return {};
  const Enter enter(scope_, inside(scope_));
  LISSOM_CHECK(execute(s.otherwise, out));
  return {};
}

Result<bool> Interpreter::run_loop(const Statement& s, const std::vector<Value>& items, std::string& out) {
  const auto loop = std::make_shared<Loop>();
  loop->length = static_cast<int64_t>(items.size());
  bool completed = false;
  for (size_t i = 0; i < items.size(); ++i) {
    LISSOM_CHECK(budget_.step());
    loop->index0 = static_cast<int64_t>(i);
    loop->has_previous = i > 0;
    loop->previous = i > 0 ? items[i - 1] : Value();
    loop->has_next = i + 1 < items.size();
    loop->next = loop->has_next ? items[i + 1] : Value();
    const Enter enter(scope_, inside(scope_));
    scope_->set("loop", Value(loop));
    LISSOM_CHECK(assign(*s.target, items[i]));
    LISSOM_TRY(const Flow flow, execute(s.body, out));
    if (flow == Flow::leave) break;
    completed = completed || flow == Flow::on;
  }
  return completed;
}

Result<void> Interpreter::run_set(const Statement& s) {
  LISSOM_TRY(std::string text, captured(s.body));
  Value v = string_value(std::move(text));
  if (s.expression) {
    const Value* const before = std::exchange(filtered_, &v);
    auto result = evaluate(*s.expression);
    filtered_ = before;
    if (!result) return tl::unexpected(result.error());
    LISSOM_TRY(std::string filtered, to_text(*result, budget_));
    v = string_value(std::move(filtered));
  }
  return assign(*s.target, v);
}

Result<void> Interpreter::run_with(const Statement& s, std::string& out) {
  const auto scope = inside(scope_);
  for (const Argument& p : s.parameters) {
    LISSOM_TRY(Value v, evaluate(*p.value));
    scope->set(p.name, std::move(v));
  }
  const Enter enter(scope_, scope);
  LISSOM_CHECK(execute(s.body, out));
  return {};
}

Result<void> Interpreter::assign(const Expression& target, const Value& value) {
  if (target.kind == Expression::Kind::name) {
    scope_->set(target.text, value);
    return {};
  }
  if (target.kind == Expression::Kind::attribute) {
    const Value* object = scope_->find(target.items[0]->text);
    const auto* dict = object == nullptr ? nullptr : object->as<std::shared_ptr<Dict>>();
    if (dict == nullptr || !(*dict)->is_namespace)
      return bad_input("cannot assign attribute on non-namespace object " + in_quotes(target.items[0]->text));
    if (target.text.starts_with('_')) return bad_input("an attribute of a namespace may not begin with '_'");
    (*dict)->set(string_value(target.text), value);
    return {};
  }
  LISSOM_TRY(const std::vector<Value> items, iterate(value, budget_));
  if (value.is<Undefined>() || items.size() != target.items.size())
    return bad_input("expected " + std::to_string(target.items.size()) + " values to unpack, got " +
                     std::to_string(items.size()));
  for (size_t i = 0; i < items.size(); ++i) LISSOM_CHECK(assign(*target.items[i], items[i]));
  return {};
}

// ---------------------------------------------------------------- macros

Value Interpreter::make_macro(const Statement& s, const std::string& name) {
  captured_scopes_.push_back(scope_);
  auto macro = std::make_shared<Callable>();
  macro->name = name;
  macro->call = [&s, name, scope = scope_](Interpreter& in, const Arguments& arguments) {
    return in.call_macro(s, name, scope, arguments);
  };
  return Value(std::move(macro));
}

Result<void> Interpreter::bind_parameters(const Statement& s, const std::string& name,
                                          const Arguments& arguments) {
  const size_t n = s.parameters.size();
  std::vector<bool> given(n, false);
  for (size_t i = 0; i < std::min(n, arguments.positional.size()); ++i) {
    scope_->set(s.parameters[i].name, arguments.positional[i]);
    given[i] = true;
  }
  std::vector<std::pair<Value, Value>> more;
  bool caller = false;
  for (const auto& named : arguments.named) {
    const std::string& key = named.first;
    const Value& value = named.second;
    const auto p = std::find_if(s.parameters.begin(), s.parameters.end(),
                                [&](const Argument& a) { return a.name == key; });
    if (p != s.parameters.end() && !given[static_cast<size_t>(p - s.parameters.begin())]) {
      given[static_cast<size_t>(p - s.parameters.begin())] = true;
      scope_->set(key, value);
    } else if (p == s.parameters.end() && key == "caller" && (s.mentions & kCaller) != 0) {
      caller = true;
      scope_->set(key, value);
    } else if (p == s.parameters.end() && (s.mentions & kKwargs) != 0) {
      more.emplace_back(string_value(key), value);
    } else {
      return bad_input("macro " + in_quotes(name) + " takes no keyword argument " + in_quotes(key));
    }
  }
  for (size_t i = 0; i < n; ++i) {
    if (given[i]) continue;
    Value v = undefined("parameter " + in_quotes(s.parameters[i].name) + " was not provided");
    if (s.parameters[i].value) {
      LISSOM_TRY(v, evaluate(*s.parameters[i].value));
    }
    scope_->set(s.parameters[i].name, std::move(v));
  }
  if ((s.mentions & kCaller) != 0 && !caller) scope_->set("caller", undefined("No caller defined"));
  if ((s.mentions & kKwargs) != 0) {
    LISSOM_TRY(Value rest, make_dict(more, budget_));
    scope_->set("kwargs", std::move(rest));
  }
  if ((s.mentions & kVarargs) != 0) {
    std::vector<Value> rest;
    for (size_t i = n; i < arguments.positional.size(); ++i) rest.push_back(arguments.positional[i]);
    LISSOM_TRY(Value values, make_sequence(std::move(rest), Sequence::Kind::tuple, budget_));
    scope_->set("varargs", std::move(values));
  } else if (arguments.positional.size() > n) {
    return bad_input("macro " + in_quotes(name) + " takes not more than " + std::to_string(n) + " argument(s)");
  }
  return {};
}

Result<Value> Interpreter::call_macro(const Statement& s, const std::string& name,
                                      const std::shared_ptr<Scope>& scope, const Arguments& arguments) {
  const Enter enter(scope_, inside(scope));
  LISSOM_CHECK(bind_parameters(s, name, arguments));
  std::string text;
  LISSOM_CHECK(execute(s.body, text));
  return string_value(std::move(text));
}

Result<void> Interpreter::run_call(const Statement& s, std::string& out) {
  LISSOM_TRY(const Value callee, evaluate(*s.expression->items[0]));
  LISSOM_TRY(Arguments arguments, evaluate_arguments(s.expression->arguments));
  arguments.named.emplace_back("caller", make_macro(s, "caller"));
  LISSOM_TRY(const Value v, call(callee, arguments));
  LISSOM_TRY(const std::string text, to_text(v, budget_));
  return emit(text, out);
}

// ---------------------------------------------------------------- calls, attributes, items

namespace {

/// Of an undefined value: the error that using it is; else "…: message".
tl::unexpected<Error> misuse(const Value& v, const std::string& message) {
  if (const auto* u = v.as<Undefined>(); u != nullptr && u->why) return bad_input(*u->why);
  return bad_input(message);
}

Result<Value> loop_attribute(const std::shared_ptr<Loop>& loop, const std::string& name) {
  const Loop& l = *loop;
  if (name == "index") return Value(l.index0 + 1);
  if (name == "index0") return Value(l.index0);
  if (name == "revindex") return Value(l.length - l.index0);
  if (name == "revindex0") return Value(l.length - l.index0 - 1);
  if (name == "first") return Value(l.index0 == 0);
  if (name == "last") return Value(!l.has_next);
  if (name == "length") return Value(l.length);
  if (name == "depth") return Value(l.depth + 1);
  if (name == "depth0") return Value(l.depth);
  if (name == "previtem") return l.has_previous ? l.previous : undefined("there is no previous item");
  if (name == "nextitem") return l.has_next ? l.next : undefined("there is no next item");
  if (name == "cycle")
    return Value(std::make_shared<Callable>(
        Callable{name, [loop](Interpreter&, const Arguments& a) -> Result<Value> {
                   if (a.positional.empty()) return bad_input("no items for cycling given");
                   return a.positional[static_cast<size_t>(loop->index0) % a.positional.size()];
                 }}));
  if (name == "changed")
    return Value(std::make_shared<Callable>(
        Callable{name, [loop](Interpreter& in, const Arguments& a) -> Result<Value> {
                   LISSOM_TRY(const Value now, make_list(a.positional, in.budget()));
                   LISSOM_TRY(const bool same, equal(now, loop->last_asked, in.budget()));
                   const bool changed = !loop->asked || !same;
                   loop->asked = true;
                   loop->last_asked = now;
                   return Value(changed);
                 }}));
  return undefined("'loop' has no attribute " + in_quotes(name));
}

}  // namespace

Result<Value> Interpreter::call(const Value& callee, const Arguments& arguments) {
  const auto* c = callee.as<std::shared_ptr<Callable>>();
  if (c == nullptr) return misuse(callee, std::string("'") + type_name(callee) + "' object is not callable");
  const Deeper deeper(budget_.depth);
  if (budget_.depth > Budget::kMaxDepth) return bad_input("nested too deep");
  const std::shared_ptr<Callable> alive = *c;
  return alive->call(*this, arguments);
}

Result<Value> Interpreter::attribute(const Value& v, const std::string& name) {
  if (v.is<Undefined>()) return misuse(v, "undefined has no attribute " + in_quotes(name));
  if (const auto* l = v.as<std::shared_ptr<Loop>>()) return loop_attribute(*l, name);
  if (const auto* d = v.as<std::shared_ptr<Dict>>(); d != nullptr && (*d)->is_namespace) {
    const Value* found = (*d)->find_text(name);
    return found != nullptr ? *found : undefined("'Namespace' has no attribute " + in_quotes(name));
  }
  if (const Function method = find_method(v, name))
    return Value(std::make_shared<Callable>(Callable{
        name, [method, v](Interpreter& in, const Arguments& arguments) { return method(in, v, arguments); }}));
  if (is_missing_method(v, name))
    return bad_input(std::string("the method '") + name + "' of " + type_name(v) + " is not supported");
  if (const auto* d = v.as<std::shared_ptr<Dict>>())
    if (const Value* found = (*d)->find_text(name)) return *found;
  return undefined("'" + std::string(type_name(v)) + " object' has no attribute " + in_quotes(name));
}

Result<Value> Interpreter::item(const Value& v, const Value& key) {
  if (v.is<Undefined>()) return misuse(v, "undefined has no items");
  if (const auto* d = v.as<std::shared_ptr<Dict>>()) {
    if (const Value* found = (*d)->find(key)) return *found;
  } else if (int64_t index = 0; key.integer(index)) {
    if (const auto* s = v.as<std::shared_ptr<Sequence>>();
        s != nullptr && (*s)->kind != Sequence::Kind::generator && (*s)->kind != Sequence::Kind::view) {
      const auto n = static_cast<int64_t>((*s)->items.size());
      if (index < 0) index += n;
      if (index >= 0 && index < n) return (*s)->items[static_cast<size_t>(index)];
    } else if (const std::string* text = v.text()) {
      LISSOM_CHECK(budget_.step(static_cast<int64_t>(text->size() / 64)));
      const std::u32string all = code_points(*text);
      if (index < 0) index += static_cast<int64_t>(all.size());
      if (index >= 0 && index < static_cast<int64_t>(all.size()))
        return string_value(utf8(all.substr(static_cast<size_t>(index), 1)));
    }
  }
  if (const std::string* name = key.text()) {
    // A name that is no key may still be an attribute.
    if (const auto* d = v.as<std::shared_ptr<Dict>>(); d != nullptr && (*d)->is_namespace)
      return undefined("'Namespace' has no attribute " + in_quotes(*name));
    return attribute(v, *name);
  }
  return undefined(std::string("'") + type_name(v) + " object' has no such element");
}

}  // namespace lissom::chat
