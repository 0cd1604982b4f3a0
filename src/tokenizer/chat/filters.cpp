// Filters: a filter is one function and one line in the list at the end, or in
// those of filters_*.cpp.

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <span>

#include "base/text.h"
#include "tokenizer/chat/filters.h"

namespace lissom::chat {

Result<Bound> Bound::bind(const Arguments& arguments, std::initializer_list<std::string_view> names,
                          size_t required) {
  Bound bound;
  bound.names_ = names;
  bound.values_.assign(names.size(), nullptr);
  if (arguments.positional.size() > names.size())
    return bad_input("takes at most " + std::to_string(names.size()) + " argument(s), got " +
                     std::to_string(arguments.positional.size()));
  for (size_t i = 0; i < arguments.positional.size(); ++i) bound.values_[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    const auto at = std::find(names.begin(), names.end(), name);
    if (at == names.end()) return bad_input("unexpected argument " + in_quotes(name));
    const Value*& slot = bound.values_[static_cast<size_t>(at - names.begin())];
    if (slot != nullptr) return bad_input("argument " + in_quotes(name) + " is given twice");
    slot = &value;
  }
  for (size_t i = 0; i < required; ++i)
    if (bound.values_[i] == nullptr) return bad_input("argument " + in_quotes(bound.names_[i]) + " is missing");
  return bound;
}

Result<std::string> Bound::text(size_t i, const std::string& fallback) const {
  if (values_[i] == nullptr) return fallback;
  if (const std::string* s = values_[i]->text()) return *s;
  return bad_input("argument " + in_quotes(names_[i]) + ": expected a string, got " + type_name(*values_[i]));
}

Result<int64_t> Bound::integer(size_t i, int64_t fallback) const {
  if (values_[i] == nullptr) return fallback;
  int64_t out = 0;
  if (values_[i]->integer(out)) return out;
  return bad_input("argument " + in_quotes(names_[i]) + ": expected an integer, got " + type_name(*values_[i]));
}

Result<Value> generator(std::vector<Value> items, Interpreter& in) {
  return make_sequence(std::move(items), Sequence::Kind::generator, in.budget());
}

Result<Value> by_path(Interpreter& in, const Value& v, const Value& path, const Value* fallback) {
  std::vector<Value> steps;
  if (const std::string* text = path.text()) {
    for (size_t begin = 0; begin <= text->size();) {
      const size_t end = std::min(text->find('.', begin), text->size());
      const std::string part = text->substr(begin, end - begin);
      const bool digits =
          !part.empty() && part.size() < 10 && part.find_first_not_of("0123456789") == std::string::npos;
      steps.push_back(digits ? Value(static_cast<int64_t>(std::strtoll(part.c_str(), nullptr, 10)))
                             : string_value(part));
      begin = end + 1;
    }
  } else {
    steps.push_back(path);
  }
  Value now = v;
  for (const Value& step : steps) {
    LISSOM_TRY(now, in.item(now, step));
    if (now.is<Undefined>() && fallback != nullptr) now = *fallback;
  }
  return now;
}

namespace {

Result<Value> text_filter(Interpreter& in, const Value& v, std::string (*change)(std::string_view)) {
  LISSOM_TRY(const std::string text, to_text(v, in.budget()));
  return make_text(change(text), in.budget());
}

template <std::string (*kChange)(std::string_view)>
Result<Value> text_filter(Interpreter& in, const Value& v, const Arguments& a) {
  LISSOM_TRY([[maybe_unused]] const Bound b, Bound::bind(a, {}));
  return text_filter(in, v, kChange);
}

/// Jinja's own title(): a word begins behind white space and opening brackets.
std::string title_filter(std::string_view text) {
  std::u32string out;
  const std::u32string all = code_points(text);
  std::u32string word;
  const auto flush = [&] {
    if (!word.empty()) {
      out += code_points(upper(utf8(std::u32string_view(word).substr(0, 1))));
      out += code_points(lower(utf8(std::u32string_view(word).substr(1))));
    }
    word.clear();
  };
  const auto parts = [](char32_t c) {
    return is_space(c) || c == U'-' || c == U'(' || c == U'{' || c == U'[' || c == U'<';
  };
  for (size_t i = 0; i < all.size(); ++i) {
    if (i > 0 && parts(all[i]) != parts(all[i - 1])) flush();
    word += all[i];
  }
  flush();
  return utf8(out);
}

Result<Value> trim(Interpreter& in, const Value& v, const Arguments& a) {
  LISSOM_TRY(const Bound b, Bound::bind(a, {"chars"}));
  LISSOM_TRY(std::string text, to_text(v, in.budget()));
  const Function method = find_method(string_value(""), "strip");
  Arguments chars;
  if (b[0] != nullptr) chars.positional.push_back(*b[0]);
  return method(in, string_value(std::move(text)), chars);
}

Result<Value> tojson(Interpreter& in, const Value& v, const Arguments& a) {
  LISSOM_TRY(const Bound b, Bound::bind(a, {"ensure_ascii", "indent", "separators", "sort_keys"}));
  JsonStyle style;
  style.ensure_ascii = b.flag(0, false);
  style.sort_keys = b.flag(3, false);
  if (b[1] != nullptr && !b[1]->is<None>()) {
    style.indented = true;
    style.item = ",";
    if (const std::string* text = b[1]->text()) {
      style.indent = *text;
    } else {
      LISSOM_TRY(const int64_t n, b.integer(1, 0));
      if (n > 1000) return bad_input("an indentation of " + std::to_string(n));
      style.indent.assign(static_cast<size_t>(std::max<int64_t>(n, 0)), ' ');
    }
  }
  if (b[2] != nullptr && !b[2]->is<None>()) {
    LISSOM_TRY(const std::vector<Value> pair, iterate(*b[2], in.budget()));
    if (pair.size() != 2 || pair[0].text() == nullptr || pair[1].text() == nullptr)
      return bad_input("separators: expected two strings");
    style.item = *pair[0].text();
    style.key = *pair[1].text();
  }
  LISSOM_TRY(std::string text, to_json(v, style, in.budget()));
  return string_value(std::move(text));
}

Result<Value> join(Interpreter& in, const Value& v, const Arguments& a) {
  LISSOM_TRY(const Bound b, Bound::bind(a, {"d", "attribute"}));
  LISSOM_TRY(const std::string separator,
             b[0] == nullptr ? Result<std::string>("") : to_text(*b[0], in.budget()));
  LISSOM_TRY(const std::vector<Value> items, iterate(v, in.budget()));
  std::string out;
  for (size_t i = 0; i < items.size(); ++i) {
    Value item = items[i];
    if (b[1] != nullptr && !b[1]->is<None>()) {
      LISSOM_TRY(item, by_path(in, item, *b[1], nullptr));
    }
    LISSOM_TRY(const std::string text, to_text(item, in.budget()));
    LISSOM_CHECK(in.budget().charge(text.size() + separator.size()));
    if (i > 0) out += separator;
    out += text;
  }
  return string_value(std::move(out));
}

Result<Value> length_filter(Interpreter& /*in*/, const Value& v, const Arguments& a) {
  LISSOM_TRY([[maybe_unused]] const Bound b, Bound::bind(a, {}));
  LISSOM_TRY(const int64_t n, length(v));
  return Value(n);
}

// ---------------------------------------------------------------- select, map

Result<Value> call_named(Interpreter& in, bool test, const std::vector<Value>& arguments, size_t name_at,
                         const Value& v, const std::vector<std::pair<std::string, Value>>& named) {
  const std::string* name = arguments[name_at].text();
  if (name == nullptr) return bad_input("expected a name");
  const Function f = test ? find_test(*name) : find_filter(*name);
  if (f == nullptr)
    return bad_input(std::string("no ") + (test ? "test" : "filter") + " named " + in_quotes(*name));
  Arguments rest;
  rest.positional.assign(arguments.begin() + static_cast<std::ptrdiff_t>(name_at) + 1, arguments.end());
  rest.named = named;
  return f(in, v, rest);
}

template <bool kAttribute, bool kKeep>
Result<Value> select(Interpreter& in, const Value& v, const Arguments& a) {
  constexpr size_t kName = kAttribute ? 1 : 0;
  if (!truth(v)) return generator({}, in);  // of none, too
  if (kAttribute && a.positional.empty()) return bad_input("missing parameter for attribute name");
  LISSOM_TRY(const std::vector<Value> items, iterate(v, in.budget()));
  std::vector<Value> kept;
  for (const Value& item : items) {
    LISSOM_CHECK(in.budget().step());
    Value subject = item;
    if (kAttribute) {
      LISSOM_TRY(subject, by_path(in, item, a.positional[0], nullptr));
    }
    Value result = subject;
    if (a.positional.size() > kName) {
      LISSOM_TRY(result, call_named(in, true, a.positional, kName, subject, a.named));
    }
    if (truth(result) == kKeep) kept.push_back(item);
  }
  return generator(std::move(kept), in);
}

Result<Value> map(Interpreter& in, const Value& v, const Arguments& a) {
  if (!truth(v)) return generator({}, in);
  LISSOM_TRY(const std::vector<Value> items, iterate(v, in.budget()));
  std::vector<Value> out;
  const Value *path = nullptr, *fallback = nullptr;
  if (a.positional.empty()) {
    for (const auto& [name, value] : a.named) {
      if (name == "attribute") {
        path = &value;
      } else if (name == "default") {
        fallback = &value;
      } else {
        return bad_input("unexpected argument " + in_quotes(name));
      }
    }
    if (path == nullptr) return bad_input("map requires a filter argument");
  }
  for (const Value& item : items) {
    LISSOM_CHECK(in.budget().step());
    auto one = path != nullptr ? by_path(in, item, *path, fallback)
                               : call_named(in, false, a.positional, 0, item, a.named);
    if (!one) return tl::unexpected(one.error());
    out.push_back(*std::move(one));
  }
  return generator(std::move(out), in);
}

Result<Value> default_filter(Interpreter& /*in*/, const Value& v, const Arguments& a) {
  LISSOM_TRY(const Bound b, Bound::bind(a, {"default_value", "boolean"}));
  if (v.is<Undefined>() || (b.flag(1, false) && !truth(v))) return b[0] == nullptr ? string_value("") : *b[0];
  return v;
}

Result<Value> replace_filter(Interpreter& in, const Value& v, const Arguments& a) {
  LISSOM_TRY(const Bound b, Bound::bind(a, {"old", "new", "count"}, 2));
  LISSOM_TRY(const std::string text, to_text(v, in.budget()));
  LISSOM_TRY(const std::string from, to_text(*b[0], in.budget()));
  LISSOM_TRY(const std::string to, to_text(*b[1], in.budget()));
  LISSOM_TRY(const int64_t count, b[2] == nullptr || b[2]->is<None>() ? Result<int64_t>(-1) : b.integer(2, -1));
  LISSOM_TRY(std::string out, replace(text, from, to, count, in.budget()));
  return string_value(std::move(out));
}

Result<Value> first(Interpreter& in, const Value& v, const Arguments& a) {
  LISSOM_TRY([[maybe_unused]] const Bound b, Bound::bind(a, {}));
  if (const auto* s = v.as<std::shared_ptr<Sequence>>();
      s != nullptr && (*s)->kind == Sequence::Kind::generator) {
    if ((*s)->next >= (*s)->items.size()) return undefined("No first item, sequence was empty.");
    return (*s)->items[(*s)->next++];
  }
  LISSOM_TRY(const std::vector<Value> items, iterate(v, in.budget()));
  return items.empty() ? undefined("No first item, sequence was empty.") : items.front();
}

Result<Value> last(Interpreter& in, const Value& v, const Arguments& a) {
  LISSOM_TRY([[maybe_unused]] const Bound b, Bound::bind(a, {}));
  if (const auto* s = v.as<std::shared_ptr<Sequence>>();
      s != nullptr && (*s)->kind == Sequence::Kind::generator)
    return bad_input("'generator' object is not reversible");
  LISSOM_TRY(const std::vector<Value> items, iterate(v, in.budget()));
  return items.empty() ? undefined("No last item, sequence was empty.") : items.back();
}

Result<Value> list(Interpreter& in, const Value& v, const Arguments& a) {
  LISSOM_TRY([[maybe_unused]] const Bound b, Bound::bind(a, {}));
  LISSOM_TRY(std::vector<Value> items, iterate(v, in.budget()));
  return make_list(std::move(items), in.budget());
}

Result<Value> items(Interpreter& in, const Value& v, const Arguments& a) {
  LISSOM_TRY([[maybe_unused]] const Bound b, Bound::bind(a, {}));
  std::vector<Value> pairs;
  if (!v.is<Undefined>()) {
    const auto* d = v.as<std::shared_ptr<Dict>>();
    if (d == nullptr || (*d)->is_namespace) return bad_input("Can only get item pairs from a mapping.");
    for (const auto& [key, value] : (*d)->items) {
      LISSOM_TRY(Value pair, make_sequence({key, value}, Sequence::Kind::tuple, in.budget()));
      pairs.push_back(std::move(pair));
    }
  }
  return generator(std::move(pairs), in);
}

Result<Value> string_filter(Interpreter& in, const Value& v, const Arguments& a) {
  LISSOM_TRY([[maybe_unused]] const Bound b, Bound::bind(a, {}));
  LISSOM_TRY(std::string text, to_text(v, in.budget()));
  return string_value(std::move(text));
}

// ---------------------------------------------------------------- layout

Result<Value> indent(Interpreter& in, const Value& v, const Arguments& a) {
  LISSOM_TRY(const Bound b, Bound::bind(a, {"width", "first", "blank"}));
  const std::string* source = v.text();
  if (source == nullptr) return bad_input(std::string("expected a string, got ") + type_name(v));
  std::string unit;
  if (b[0] != nullptr && b[0]->text() != nullptr) {
    unit = *b[0]->text();
  } else {
    LISSOM_TRY(const int64_t width, b.integer(0, 4));
    if (width > 10'000) return bad_input("an indentation of " + std::to_string(width));
    unit.assign(static_cast<size_t>(std::max<int64_t>(width, 0)), ' ');
  }
  const std::vector<std::string> lines = split_lines(*source + "\n");
  LISSOM_CHECK(in.budget().charge(source->size() + lines.size() * (unit.size() + 1)));
  std::string out = b.flag(1, false) ? unit : "";
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) {
      out += '\n';
      if (b.flag(2, false) || !lines[i].empty()) out += unit;
    }
    out += lines[i];
  }
  return string_value(std::move(out));
}

Result<Value> center(Interpreter& in, const Value& v, const Arguments& a) {
  LISSOM_TRY(const Bound b, Bound::bind(a, {"width"}));
  LISSOM_TRY(std::string text, to_text(v, in.budget()));
  Arguments width;
  width.positional.push_back(b[0] == nullptr ? Value(int64_t{80}) : *b[0]);
  return find_method(string_value(""), "center")(in, string_value(std::move(text)), width);
}

Result<Value> wordcount(Interpreter& in, const Value& v, const Arguments& a) {
  LISSOM_TRY([[maybe_unused]] const Bound b, Bound::bind(a, {}));
  LISSOM_TRY(const std::string text, to_text(v, in.budget()));
  int64_t n = 0;
  bool inside = false;
  for (const char c : text) {
    if (static_cast<unsigned char>(c) >= 0x80) return bad_input("wordcount beyond ASCII is not supported");
    const bool word = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
    n += word && !inside ? 1 : 0;
    inside = word;
  }
  return Value(n);
}

Result<Value> truncate(Interpreter& in, const Value& v, const Arguments& a) {
  LISSOM_TRY(const Bound b, Bound::bind(a, {"length", "killwords", "end", "leeway"}));
  LISSOM_TRY(const int64_t limit, b.integer(0, 255));
  LISSOM_TRY(const std::string end_text, b.text(2, "..."));
  LISSOM_TRY(const int64_t leeway, b[3] == nullptr || b[3]->is<None>() ? Result<int64_t>(5) : b.integer(3, 5));
  const std::string* text = v.text();
  if (text == nullptr) return bad_input(std::string("expected a string, got ") + type_name(v));
  const std::u32string all = code_points(*text), end = code_points(end_text);
  if (limit < static_cast<int64_t>(end.size()))
    return bad_input("truncate: the length is below that of the end");
  if (leeway < 0) return bad_input("truncate: a negative leeway");
  if (static_cast<int64_t>(all.size()) <= limit + leeway) return v;
  std::u32string cut = all.substr(0, static_cast<size_t>(limit) - end.size());
  if (!b.flag(1, false)) cut = cut.substr(0, cut.rfind(U' '));
  return make_text(utf8(cut + end), in.budget());
}

Result<Value> same(Interpreter& in, const Value& v, const Arguments& a) {
  return string_filter(in, v, a);
}

Result<Value> attr(Interpreter& in, const Value& v, const Arguments& a) {
  LISSOM_TRY(const Bound b, Bound::bind(a, {"name"}, 1));
  LISSOM_TRY(const std::string name, b.text(0, ""));
  if (v.is<std::shared_ptr<Dict>>() && find_method(v, name) == nullptr &&
      !(*v.as<std::shared_ptr<Dict>>())->is_namespace)
    return undefined("'dict object' has no attribute " + in_quotes(name));
  if (v.is<Undefined>()) return undefined("undefined has no attribute " + in_quotes(name));
  return in.attribute(v, name);
}

constexpr Named kFilters[] = {
    {"trim", trim},
    {"tojson", tojson},
    {"join", join},
    {"length", length_filter},
    {"count", length_filter},
    {"select", select<false, true>},
    {"reject", select<false, false>},
    {"selectattr", select<true, true>},
    {"rejectattr", select<true, false>},
    {"map", map},
    {"default", default_filter},
    {"d", default_filter},
    {"upper", text_filter<upper>},
    {"lower", text_filter<lower>},
    {"title", text_filter<title_filter>},
    {"capitalize", text_filter<capitalize>},
    {"replace", replace_filter},
    {"first", first},
    {"last", last},
    {"list", list},
    {"items", items},
    {"string", string_filter},
    {"safe", same},
    {"indent", indent},
    {"center", center},
    {"wordcount", wordcount},
    {"truncate", truncate},
    {"attr", attr},
};

}  // namespace

Function find_filter(std::string_view name) {
  for (const std::span<const Named> list :
       {std::span<const Named>(kFilters), number_filters(), order_filters()})
    for (const Named& f : list)
      if (f.name == name) return f.function;
  return nullptr;
}

}  // namespace lissom::chat
