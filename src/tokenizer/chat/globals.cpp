// Tests ("x is defined") and global functions: each is one function and one line in its list.

#include <algorithm>
#include <cmath>
#include <ctime>

#include "base/text.h"
#include "tokenizer/chat/interpreter.h"

namespace lissom::chat {
namespace {

template <bool (*kIs)(const Value&)>
Result<Value> is(Interpreter& /*in*/, const Value& v, const Arguments& a) {
  LISSOM_TRY([[maybe_unused]] const Bound b, Bound::bind(a, {}));
  return Value(kIs(v));
}

const Sequence* sequence(const Value& v) {
  const auto* s = v.as<std::shared_ptr<Sequence>>();
  return s == nullptr ? nullptr : s->get();
}
bool is_dict(const Value& v) {
  const auto* d = v.as<std::shared_ptr<Dict>>();
  return d != nullptr && !(*d)->is_namespace;
}
bool is_defined(const Value& v) {
  return !v.is<Undefined>();
}
bool is_undefined(const Value& v) {
  return v.is<Undefined>();
}
bool is_none(const Value& v) {
  return v.is<None>();
}
bool is_string(const Value& v) {
  return v.text() != nullptr;
}
bool is_iterable(const Value& v) {
  return v.is<Undefined>() || v.text() != nullptr || sequence(v) != nullptr || is_dict(v) ||
         v.is<std::shared_ptr<Loop>>();
}
bool is_sequence(const Value& v) {
  if (const Sequence* s = sequence(v))
    return s->kind != Sequence::Kind::generator && s->kind != Sequence::Kind::view;
  return v.is<Undefined>() || v.text() != nullptr || is_dict(v);
}
bool is_number(const Value& v) {
  double d = 0;
  return v.number(d);
}
bool is_integer(const Value& v) {
  return v.is<int64_t>();
}
bool is_float(const Value& v) {
  return v.is<double>();
}
bool is_boolean(const Value& v) {
  return v.is<bool>();
}
bool is_true(const Value& v) {
  return v.is<bool>() && *v.as<bool>();
}
bool is_false(const Value& v) {
  return v.is<bool>() && !*v.as<bool>();
}
bool is_callable(const Value& v) {
  return v.is<std::shared_ptr<Callable>>() || v.is<std::shared_ptr<Loop>>() || v.is<Undefined>();
}

Result<Value> is_in(Interpreter& in, const Value& v, const Arguments& a) {
  LISSOM_TRY(const Bound b, Bound::bind(a, {"seq"}, 1));
  LISSOM_TRY(const bool inside, contains(*b[0], v, in.budget()));
  return Value(inside);
}

enum class Order { eq, ne, lt, le, gt, ge };
template <Order kOrder>
Result<Value> compare(Interpreter& in, const Value& v, const Arguments& a) {
  LISSOM_TRY(const Bound b, Bound::bind(a, {"other"}, 1));
  if (kOrder == Order::eq || kOrder == Order::ne) {
    LISSOM_TRY(const bool same, equal(v, *b[0], in.budget()));
    return Value(same == (kOrder == Order::eq));
  }
  const bool swap = kOrder == Order::gt || kOrder == Order::le;
  LISSOM_TRY(const bool is_less, swap ? less(*b[0], v, in.budget()) : less(v, *b[0], in.budget()));
  return Value(is_less == (kOrder == Order::lt || kOrder == Order::gt));
}

template <int64_t kRest>
Result<Value> parity(Interpreter& in, const Value& v, const Arguments& a) {
  LISSOM_TRY([[maybe_unused]] const Bound b, Bound::bind(a, {}));
  LISSOM_TRY(const Value rest, arithmetic("%", v, Value(int64_t{2}), in.budget()));
  LISSOM_TRY(const bool same, equal(rest, Value(kRest), in.budget()));
  return Value(same);
}

Result<Value> divisible(Interpreter& in, const Value& v, const Arguments& a) {
  LISSOM_TRY(const Bound b, Bound::bind(a, {"num"}, 1));
  LISSOM_TRY(const Value rest, arithmetic("%", v, *b[0], in.budget()));
  LISSOM_TRY(const bool same, equal(rest, Value(int64_t{0}), in.budget()));
  return Value(same);
}

Result<Value> same_as(Interpreter& in, const Value& v, const Arguments& a) {
  LISSOM_TRY(const Bound b, Bound::bind(a, {"other"}, 1));
  if (v.data.index() != b[0]->data.index()) return Value(false);
  if (const Sequence* s = sequence(v)) return Value(s == sequence(*b[0]));
  if (const auto* d = v.as<std::shared_ptr<Dict>>()) return Value(*d == *b[0]->as<std::shared_ptr<Dict>>());
  LISSOM_TRY(const bool same, equal(v, *b[0], in.budget()));
  return Value(same);
}

template <bool kUpper>
Result<Value> is_case(Interpreter& in, const Value& v, const Arguments& a) {
  LISSOM_TRY([[maybe_unused]] const Bound b, Bound::bind(a, {}));
  LISSOM_TRY(std::string text, to_text(v, in.budget()));
  return find_method(string_value(""), kUpper ? "isupper" : "islower")(in, string_value(std::move(text)), a);
}

template <bool kFilter>
Result<Value> is_named(Interpreter& /*in*/, const Value& v, const Arguments& a) {
  LISSOM_TRY([[maybe_unused]] const Bound b, Bound::bind(a, {}));
  const std::string* name = v.text();
  return Value(name != nullptr && (kFilter ? find_filter(*name) : find_test(*name)) != nullptr);
}

constexpr Named kTests[] = {
    {"defined", is<is_defined>},
    {"undefined", is<is_undefined>},
    {"none", is<is_none>},
    {"string", is<is_string>},
    {"mapping", is<is_dict>},
    {"iterable", is<is_iterable>},
    {"sequence", is<is_sequence>},
    {"number", is<is_number>},
    {"integer", is<is_integer>},
    {"float", is<is_float>},
    {"boolean", is<is_boolean>},
    {"true", is<is_true>},
    {"false", is<is_false>},
    {"callable", is<is_callable>},
    {"in", is_in},
    {"eq", compare<Order::eq>},
    {"==", compare<Order::eq>},
    {"equalto", compare<Order::eq>},
    {"ne", compare<Order::ne>},
    {"!=", compare<Order::ne>},
    {"lt", compare<Order::lt>},
    {"<", compare<Order::lt>},
    {"lessthan", compare<Order::lt>},
    {"le", compare<Order::le>},
    {"<=", compare<Order::le>},
    {"gt", compare<Order::gt>},
    {">", compare<Order::gt>},
    {"greaterthan", compare<Order::gt>},
    {"ge", compare<Order::ge>},
    {">=", compare<Order::ge>},
    {"even", parity<0>},
    {"odd", parity<1>},
    {"divisibleby", divisible},
    {"sameas", same_as},
    {"upper", is_case<true>},
    {"lower", is_case<false>},
    {"filter", is_named<true>},
    {"test", is_named<false>},
};

// ---------------------------------------------------------------- global functions

using Global = Result<Value> (*)(Interpreter& in, const Arguments& a);

Result<Value> range(Interpreter& in, const Arguments& a) {
  constexpr uint64_t kMost = 100'000;  // the sandbox of Jinja
  if (!a.named.empty() || a.positional.empty() || a.positional.size() > 3)
    return bad_input("range takes 1 to 3 integers");
  int64_t n[3] = {0, 0, 1};
  for (size_t i = 0; i < a.positional.size(); ++i)
    if (!a.positional[i].integer(n[i]))
      return bad_input(std::string("range: expected an integer, got ") + type_name(a.positional[i]));
  if (a.positional.size() == 1) n[1] = std::exchange(n[0], 0);
  if (n[2] == 0) return bad_input("range() arg 3 must not be zero");
  std::vector<Value> items;
  for (int64_t i = n[0]; n[2] > 0 ? i < n[1] : i > n[1];) {
    if (items.size() >= kMost) return bad_input("a range of more than 100000 numbers");
    items.emplace_back(i);
    if (__builtin_add_overflow(i, n[2], &i)) break;
  }
  std::string label = "range(" + std::to_string(n[0]) + ", " + std::to_string(n[1]);
  if (n[2] != 1) label += ", " + std::to_string(n[2]);
  return make_sequence(std::move(items), Sequence::Kind::range, in.budget(), label + ")");
}

Result<std::vector<std::pair<Value, Value>>> dict_items(Interpreter& in, const Arguments& a) {
  std::vector<std::pair<Value, Value>> items;
  if (a.positional.size() > 1) return bad_input("takes at most one positional argument");
  if (!a.positional.empty()) {
    if (is_dict(a.positional[0])) {
      items = (*a.positional[0].as<std::shared_ptr<Dict>>())->items;
    } else {
      LISSOM_TRY(const std::vector<Value> pairs, iterate(a.positional[0], in.budget()));
      for (const Value& p : pairs) {
        LISSOM_TRY(const std::vector<Value> pair, iterate(p, in.budget()));
        if (pair.size() != 2) return bad_input("expected pairs");
        items.emplace_back(pair[0], pair[1]);
      }
    }
  }
  for (const auto& [name, value] : a.named) items.emplace_back(string_value(name), value);
  LISSOM_CHECK(in.budget().charge(items.size() * 2 * sizeof(Value)));
  return items;
}

Result<Value> dict(Interpreter& in, const Arguments& a) {
  LISSOM_TRY(const auto items, dict_items(in, a));
  return make_dict(items, in.budget());
}

Result<Value> make_namespace(Interpreter& in, const Arguments& a) {
  LISSOM_TRY(const auto items, dict_items(in, a));
  for (const auto& [key, value] : items)
    if (const std::string* name = key.text(); name != nullptr && name->starts_with('_'))
      return bad_input("an attribute of a namespace may not begin with '_'");
  return in.make_namespace(items);
}

Result<Value> raise_exception(Interpreter& in, const Arguments& a) {
  LISSOM_TRY(const Bound b, Bound::bind(a, {"message"}, 1));
  LISSOM_TRY(const std::string message, to_text(*b[0], in.budget()));
  return bad_input("the template says: " + message);
}

Result<Value> strftime_now(Interpreter& in, const Arguments& a) {
  LISSOM_TRY(const Bound b, Bound::bind(a, {"format"}, 1));
  LISSOM_TRY(const std::string format, b.text(0, ""));
  if (format.size() > 256)
    return bad_input("strftime_now: a format of " + std::to_string(format.size()) + " bytes");
  const auto now = static_cast<std::time_t>(in.now());
  std::tm parts{};
  localtime_r(&now, &parts);
  // A mark at the end tells an empty result from one that does not fit.
  char buffer[8192];
  const size_t n = std::strftime(buffer, sizeof buffer, (format + "|").c_str(), &parts);
  if (n == 0) return bad_input("strftime_now: the result is too long");
  return make_text(std::string(buffer, n - 1), in.budget());
}

/// Nothing at the first call, the separator at each later one.
Result<Value> joiner(Interpreter& in, const Arguments& a) {
  LISSOM_TRY(const Bound b, Bound::bind(a, {"sep"}));
  LISSOM_TRY(const std::string separator,
             b[0] == nullptr ? Result<std::string>(", ") : to_text(*b[0], in.budget()));
  return Value(std::make_shared<Callable>(Callable{
      "joiner",
      [separator, used = std::make_shared<bool>(false)](Interpreter&, const Arguments&) -> Result<Value> {
        return string_value(std::exchange(*used, true) ? separator : "");
      }}));
}

constexpr std::pair<std::string_view, Global> kGlobals[] = {
    {"range", range},
    {"dict", dict},
    {"namespace", make_namespace},
    {"raise_exception", raise_exception},
    {"strftime_now", strftime_now},
    {"joiner", joiner},
};

}  // namespace

Function find_test(std::string_view name) {
  for (const Named& t : kTests)
    if (t.name == name) return t.function;
  return nullptr;
}

const Value* find_global(std::string_view name) {
  static const std::vector<std::pair<std::string, Value>> all = [] {
    std::vector<std::pair<std::string, Value>> globals;
    for (const auto& [known, function] : kGlobals)
      globals.emplace_back(
          known,
          Value(std::make_shared<Callable>(Callable{
              std::string(known), [f = function](Interpreter& in, const Arguments& a) { return f(in, a); }})));
    return globals;
  }();
  for (const auto& [known, value] : all)
    if (known == name) return &value;
  return nullptr;
}

}  // namespace lissom::chat
