#include "tokenizer/chat/value.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "tokenizer/hash.h"
#include "tokenizer/unicode.h"

namespace lissom::chat {
namespace {

constexpr size_t kIndexFrom = 16;
constexpr uint32_t kFree = UINT32_MAX;

int depth_of(const Value& v) {
  if (const auto* s = v.as<std::shared_ptr<Sequence>>()) return (*s)->depth;
  if (const auto* d = v.as<std::shared_ptr<Dict>>()) return (*d)->is_namespace ? 0 : (*d)->depth;
  return 0;
}

Result<void> too_deep() {
  return bad_input("values nested more than " + std::to_string(Budget::kMaxNesting) + " deep");
}

/// Where both are numbers or booleans.
bool same_number(const Value& a, const Value& b, bool& result) {
  int64_t i = 0, j = 0;
  double x = 0, y = 0;
  if (a.integer(i) && b.integer(j)) {
    result = i == j;
    return true;
  }
  if (!a.number(x) || !b.number(y)) return false;
  result = x == y;
  return true;
}

}  // namespace

bool Value::integer(int64_t& out) const {
  if (const auto* i = as<int64_t>()) {
    out = *i;
  } else if (const auto* b = as<bool>()) {
    out = *b ? 1 : 0;
  } else {
    return false;
  }
  return true;
}

bool Value::number(double& out) const {
  int64_t i = 0;
  if (const auto* d = as<double>()) {
    out = *d;
  } else if (integer(i)) {
    out = static_cast<double>(i);
  } else {
    return false;
  }
  return true;
}

Result<void> Budget::step(int64_t n) {
  steps -= n;
  if (steps < 0) return bad_input("the template takes too many steps");
  return {};
}

Result<void> Budget::charge(size_t n) {
  if (n > static_cast<size_t>(std::max<int64_t>(bytes, 0)))
    return bad_input("the template makes too much text");
  bytes -= static_cast<int64_t>(n);
  return {};
}

// ---------------------------------------------------------------- Dict

const Value* Dict::find_text(std::string_view key) const {
  if (!slots_.empty()) {
    for (size_t slot = tok::hash_bytes(key) & (slots_.size() - 1); slots_[slot] != kFree;
         slot = (slot + 1) & (slots_.size() - 1))
      if (const std::string* k = items[slots_[slot]].first.text(); *k == key)
        return &items[slots_[slot]].second;
    return nullptr;
  }
  for (const auto& [k, v] : items)
    if (const std::string* text = k.text(); text != nullptr && *text == key) return &v;
  return nullptr;
}

const Value* Dict::find(const Value& key) const {
  if (const std::string* text = key.text()) return find_text(*text);
  if (others_ == 0) return nullptr;
  bool same = false;
  for (const auto& [k, v] : items) {
    if (same_number(k, key, same) && same) return &v;
    if (k.is<None>() && key.is<None>()) return &v;
  }
  return nullptr;
}

void Dict::set(Value key, Value value) {
  if (const Value* known = find(key)) {
    *const_cast<Value*>(known) = std::move(value);  // items are ours
    return;
  }
  if (key.text() == nullptr) ++others_;
  items.emplace_back(std::move(key), std::move(value));
  index();
}

void Dict::index() {
  if (items.size() < kIndexFrom) return;
  const auto put = [this](size_t i) {
    const std::string* text = items[i].first.text();
    if (text == nullptr) return;
    size_t slot = tok::hash_bytes(*text) & (slots_.size() - 1);
    while (slots_[slot] != kFree) slot = (slot + 1) & (slots_.size() - 1);
    slots_[slot] = static_cast<uint32_t>(i);
  };
  if (2 * items.size() <= slots_.size()) return put(items.size() - 1);
  slots_.assign(std::max<size_t>(64, slots_.size() * 2), kFree);
  for (size_t i = 0; i < items.size(); ++i) put(i);
}

// ---------------------------------------------------------------- questions

const char* type_name(const Value& v) {
  constexpr const char* kNames[] = {"Undefined", "NoneType", "bool", "int",      "float",
                                    "str",       "list",     "dict", "function", "LoopContext"};
  if (const auto* s = v.as<std::shared_ptr<Sequence>>()) {
    constexpr const char* kKinds[] = {"list", "tuple", "range", "dict_items", "generator"};
    return kKinds[static_cast<size_t>((*s)->kind)];
  }
  if (const auto* d = v.as<std::shared_ptr<Dict>>(); d != nullptr && (*d)->is_namespace) return "Namespace";
  return kNames[v.data.index()];
}

bool truth(const Value& v) {
  if (v.is<Undefined>() || v.is<None>()) return false;
  if (const auto* b = v.as<bool>()) return *b;
  if (const auto* i = v.as<int64_t>()) return *i != 0;
  if (const auto* d = v.as<double>()) return *d != 0;
  if (const std::string* s = v.text()) return !s->empty();
  if (const auto* s = v.as<std::shared_ptr<Sequence>>())
    return (*s)->kind == Sequence::Kind::generator || !(*s)->items.empty();
  if (const auto* d = v.as<std::shared_ptr<Dict>>()) return (*d)->is_namespace || !(*d)->items.empty();
  return true;
}

Result<bool> equal(const Value& a, const Value& b, Budget& budget) {
  LISSOM_CHECK(budget.step());
  bool same = false;
  if (same_number(a, b, same)) return same;
  if (a.data.index() != b.data.index()) return false;
  if (a.is<Undefined>() || a.is<None>()) return true;
  if (const std::string* s = a.text()) return *s == *b.text();
  if (const auto* p = a.as<std::shared_ptr<Sequence>>()) {
    const Sequence& x = **p;
    const Sequence& y = **b.as<std::shared_ptr<Sequence>>();
    if (&x == &y) return true;
    if (x.kind != y.kind || x.kind == Sequence::Kind::generator || x.items.size() != y.items.size())
      return false;
    for (size_t i = 0; i < x.items.size(); ++i) {
      LISSOM_TRY(const bool one, equal(x.items[i], y.items[i], budget));
      if (!one) return false;
    }
    return true;
  }
  if (const auto* p = a.as<std::shared_ptr<Dict>>()) {
    const Dict& x = **p;
    const Dict& y = **b.as<std::shared_ptr<Dict>>();
    if (&x == &y) return true;
    if (x.is_namespace || y.is_namespace || x.items.size() != y.items.size()) return false;
    for (const auto& [key, value] : x.items) {
      const Value* other = y.find(key);
      if (other == nullptr) return false;
      LISSOM_TRY(const bool one, equal(value, *other, budget));
      if (!one) return false;
    }
    return true;
  }
  if (const auto* c = a.as<std::shared_ptr<Callable>>()) return *c == *b.as<std::shared_ptr<Callable>>();
  if (const auto* l = a.as<std::shared_ptr<Loop>>()) return *l == *b.as<std::shared_ptr<Loop>>();
  return false;
}

Result<bool> less(const Value& a, const Value& b, Budget& budget) {
  LISSOM_CHECK(budget.step());
  int64_t i = 0, j = 0;
  if (a.integer(i) && b.integer(j)) return i < j;
  double x = 0, y = 0;
  if (a.number(x) && b.number(y)) return x < y;
  if (a.text() != nullptr && b.text() != nullptr) return *a.text() < *b.text();
  const auto* s = a.as<std::shared_ptr<Sequence>>();
  const auto* t = b.as<std::shared_ptr<Sequence>>();
  if (s != nullptr && t != nullptr && (*s)->kind == (*t)->kind &&
      ((*s)->kind == Sequence::Kind::list || (*s)->kind == Sequence::Kind::tuple)) {
    const auto &p = (*s)->items, &q = (*t)->items;
    for (size_t k = 0; k < std::min(p.size(), q.size()); ++k) {
      LISSOM_TRY(const bool same, equal(p[k], q[k], budget));
      if (!same) return less(p[k], q[k], budget);
    }
    return p.size() < q.size();
  }
  return bad_input(std::string("'<' not supported between instances of '") + type_name(a) + "' and '" +
                   type_name(b) + "'");
}

Result<bool> contains(const Value& container, const Value& item, Budget& budget) {
  if (const std::string* text = container.text()) {
    const std::string* part = item.text();
    if (part == nullptr)
      return bad_input(std::string("'in <string>' requires string as left operand, not ") + type_name(item));
    LISSOM_CHECK(budget.step(static_cast<int64_t>(text->size() / 64)));
    return text->find(*part) != std::string::npos;
  }
  if (const auto* d = container.as<std::shared_ptr<Dict>>(); d != nullptr && !(*d)->is_namespace) {
    if (item.is<std::shared_ptr<Dict>>() ||
        (item.is<std::shared_ptr<Sequence>>() &&
         (*item.as<std::shared_ptr<Sequence>>())->kind == Sequence::Kind::list))
      return bad_input(std::string("unhashable type: '") + type_name(item) + "'");
    return (*d)->find(item) != nullptr;
  }
  LISSOM_TRY(const std::vector<Value> items, iterate(container, budget));
  for (const Value& one : items) {
    LISSOM_TRY(const bool same, equal(one, item, budget));
    if (same) return true;
  }
  return false;
}

// ---------------------------------------------------------------- new values

Result<Value> make_sequence(std::vector<Value> items, Sequence::Kind kind, Budget& budget, std::string label) {
  LISSOM_CHECK(budget.charge(items.size() * sizeof(Value) + sizeof(Sequence)));
  auto s = std::make_shared<Sequence>();
  for (const Value& v : items) s->depth = std::max(s->depth, depth_of(v) + 1);
  if (s->depth > Budget::kMaxNesting) return tl::unexpected(too_deep().error());
  s->kind = kind;
  s->items = std::move(items);
  s->label = std::move(label);
  return Value(std::move(s));
}

Result<Value> make_list(std::vector<Value> items, Budget& budget) {
  return make_sequence(std::move(items), Sequence::Kind::list, budget);
}

Result<Value> make_dict(const std::vector<std::pair<Value, Value>>& items, Budget& budget) {
  LISSOM_CHECK(budget.charge(items.size() * 2 * sizeof(Value) + sizeof(Dict)));
  auto d = std::make_shared<Dict>();
  for (const auto& [k, v] : items) {
    if (k.is<std::shared_ptr<Sequence>>() || k.is<std::shared_ptr<Dict>>())
      return bad_input(std::string("unhashable type: '") + type_name(k) + "'");
    d->depth = std::max(d->depth, depth_of(v) + 1);
    d->set(k, v);
  }
  if (d->depth > Budget::kMaxNesting) return tl::unexpected(too_deep().error());
  return Value(std::move(d));
}

Result<Value> make_text(std::string text, Budget& budget) {
  LISSOM_CHECK(budget.charge(text.size()));
  return string_value(std::move(text));
}

Result<std::vector<Value>> iterate(const Value& v, Budget& budget) {
  std::vector<Value> out;
  if (v.is<Undefined>()) return out;
  if (const auto* s = v.as<std::shared_ptr<Sequence>>()) {
    LISSOM_CHECK(budget.charge((*s)->items.size() * sizeof(Value)));
    out.assign((*s)->items.begin() + static_cast<std::ptrdiff_t>((*s)->next), (*s)->items.end());
    if ((*s)->kind == Sequence::Kind::generator) (*s)->next = (*s)->items.size();
    return out;
  }
  if (const auto* d = v.as<std::shared_ptr<Dict>>(); d != nullptr && !(*d)->is_namespace) {
    LISSOM_CHECK(budget.charge((*d)->items.size() * sizeof(Value)));
    for (const auto& [key, value] : (*d)->items) out.push_back(key);
    return out;
  }
  if (const std::string* s = v.text()) {
    LISSOM_CHECK(budget.charge(s->size() * (sizeof(Value) + sizeof(std::string))));
    for (size_t i = 0; i < s->size();) {
      const auto n = static_cast<size_t>(unicode::sequence_length((*s)[i]));
      out.push_back(string_value(s->substr(i, n)));
      i += n;
    }
    return out;
  }
  return bad_input(std::string("'") + type_name(v) + "' object is not iterable");
}

Result<int64_t> length(const Value& v) {
  if (v.is<Undefined>()) return 0;
  if (const std::string* s = v.text())
    return std::count_if(s->begin(), s->end(),
                         [](char c) { return (static_cast<unsigned char>(c) & 0xc0U) != 0x80U; });
  if (const auto* s = v.as<std::shared_ptr<Sequence>>();
      s != nullptr && (*s)->kind != Sequence::Kind::generator)
    return static_cast<int64_t>((*s)->items.size());
  if (const auto* d = v.as<std::shared_ptr<Dict>>(); d != nullptr && !(*d)->is_namespace)
    return static_cast<int64_t>((*d)->items.size());
  if (const auto* l = v.as<std::shared_ptr<Loop>>()) return (*l)->length;
  return bad_input(std::string("object of type '") + type_name(v) + "' has no len()");
}

// ---------------------------------------------------------------- printing

std::string float_text(double x) {
  if (std::isnan(x)) return "nan";
  if (std::isinf(x)) return x < 0 ? "-inf" : "inf";
  // Python: the shortest digits that read back, with an exponent below 1e-4 and from 1e16.
  char buffer[64];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, x, std::chars_format::scientific).ptr;
  const std::string_view text(buffer, static_cast<size_t>(end - buffer));
  const size_t e = text.find('e');
  const int exponent = static_cast<int>(std::strtol(std::string(text.substr(e + 1)).c_str(), nullptr, 10));
  if (exponent < -4 || exponent >= 16) return std::string(text);
  const auto fixed = std::to_chars(buffer, buffer + sizeof buffer, x, std::chars_format::fixed).ptr;
  std::string out(buffer, fixed);
  if (out.find('.') == std::string::npos) out += ".0";
  return out;
}

namespace {

bool printable(char32_t c) {
  if (c < 0x7f) return c >= 0x20;
  static const std::vector<bool> table = [] {
    std::vector<bool> bits(0x110000, false);
    for (const char* category : {"Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No",
                                 "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm", "Sc", "Sk", "So"})
      for (const auto& [first, last] : unicode::category_ranges(category))
        for (char32_t x = first; x <= last; ++x) bits[x] = true;
    return bits;
  }();
  return table[c];
}

void quote(std::string& out, std::string_view text) {
  const char mark =
      text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos ? '"' : '\'';
  out += mark;
  for (const char *p = text.data(), *end = p + text.size(); p < end;) {
    const char* const at = p;
    const char32_t c = unicode::decode(p);
    char escape[16];
    if (c == static_cast<char32_t>(mark) || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n' || c == '\r' || c == '\t') {
      out += c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t";
    } else if (printable(c)) {
      out.append(at, p);
    } else {
      std::snprintf(escape, sizeof escape,
                    c < 0x100     ? "\\x%02x"
                    : c < 0x10000 ? "\\u%04x"
                                  : "\\U%08x",
                    static_cast<unsigned>(c));
      out += escape;
    }
  }
  out += mark;
}

Result<void> write_repr(std::string& out, const Value& v, int depth, Budget& budget) {
  LISSOM_CHECK(budget.step());
  if (depth > Budget::kMaxNesting) return too_deep();
  const size_t before = out.size();
  if (const std::string* text = v.text()) {
    quote(out, *text);
  } else if (const auto* p = v.as<std::shared_ptr<Sequence>>()) {
    const Sequence& s = **p;
    if (s.kind == Sequence::Kind::range) {
      out += s.label;
      return {};
    }
    if (s.kind == Sequence::Kind::generator)
      return bad_input("a generator is not printed: put '| list' behind it");
    const bool tuple = s.kind == Sequence::Kind::tuple;
    out += s.label + (s.label.empty() ? "" : "(") + (tuple ? "(" : "[");
    for (size_t i = 0; i < s.items.size(); ++i) {
      if (i > 0) out += ", ";
      LISSOM_CHECK(write_repr(out, s.items[i], depth + 1, budget));
    }
    if (tuple && s.items.size() == 1) out += ",";
    out += tuple ? ")" : "]";
    if (!s.label.empty()) out += ")";
  } else if (const auto* q = v.as<std::shared_ptr<Dict>>()) {
    out += (*q)->is_namespace ? "<Namespace {" : "{";
    bool first = true;
    for (const auto& [key, value] : (*q)->items) {
      if (!first) out += ", ";
      first = false;
      LISSOM_CHECK(write_repr(out, key, depth + 1, budget));
      out += ": ";
      LISSOM_CHECK(write_repr(out, value, depth + 1, budget));
    }
    out += (*q)->is_namespace ? "}>" : "}";
  } else if (v.is<Undefined>()) {
    out += "Undefined";
  } else if (v.is<None>()) {
    out += "None";
  } else if (const auto* b = v.as<bool>()) {
    out += *b ? "True" : "False";
  } else if (const auto* i = v.as<int64_t>()) {
    out += std::to_string(*i);
  } else if (const auto* d = v.as<double>()) {
    out += float_text(*d);
  } else if (const auto* l = v.as<std::shared_ptr<Loop>>()) {
    out += "<LoopContext " + std::to_string((*l)->index0 + 1) + "/" + std::to_string((*l)->length) + ">";
  } else {
    return bad_input("a function is not printed");
  }
  return budget.charge(out.size() - std::min(before, out.size()));
}

}  // namespace

Result<std::string> repr(const Value& v, Budget& budget) {
  std::string out;
  LISSOM_CHECK(write_repr(out, v, 0, budget));
  return out;
}

Result<std::string> to_text(const Value& v, Budget& budget) {
  if (v.is<Undefined>()) return std::string();
  if (const std::string* s = v.text()) {
    LISSOM_CHECK(budget.charge(s->size()));
    return *s;
  }
  return repr(v, budget);
}

}  // namespace lissom::chat
