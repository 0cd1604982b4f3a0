// JSON as Python's json module writes it, and read with the order of the keys kept.

#include <algorithm>
#include <cmath>

#include "format/json.h"
#include "tokenizer/chat/value.h"
#include "tokenizer/unicode.h"

namespace lissom::chat {
namespace {

void write_string(std::string& out, std::string_view text, bool ensure_ascii) {
  out += '"';
  char escape[16];
  const auto unit = [&](char32_t u) {
    std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(u));
    out += escape;
  };
  for (const char *p = text.data(), *end = p + text.size(); p < end;) {
    const char* const at = p;
    const char32_t c = unicode::decode(p);
    constexpr std::string_view kEscaped = "\"\\\n\r\t\f\b", kLetters = "\"\\nrtfb";
    if (const size_t e = c < 0x80 ? kEscaped.find(static_cast<char>(c)) : std::string_view::npos;
        e != std::string_view::npos) {
      out += '\\';
      out += kLetters[e];
    } else if (ensure_ascii && c > 0xffff) {
      unit(0xd800 + ((c - 0x10000) >> 10));
      unit(0xdc00 + ((c - 0x10000) & 0x3ff));
    } else if (c < 0x20 || (ensure_ascii && c > 0x7e)) {
      unit(c);
    } else {
      out.append(at, p);
    }
  }
  out += '"';
}

std::string json_float(double x) {
  return std::isnan(x) ? "NaN" : std::isinf(x) ? (x < 0 ? "-Infinity" : "Infinity") : float_text(x);
}

struct Writer {
  const JsonStyle& style;
  Budget& budget;
  std::string out;

  void line(int depth) {
    if (!style.indented) return;
    out += '\n';
    for (int i = 0; i < depth; ++i) out += style.indent;
  }
  void separate(bool first, int depth) {
    if (!first) out += style.item;
    line(depth);
  }

  Result<void> key(const Value& k) {
    if (const std::string* s = k.text()) {
      write_string(out, *s, style.ensure_ascii);
    } else if (const auto* b = k.as<bool>()) {
      out += *b ? "\"true\"" : "\"false\"";
    } else if (const auto* i = k.as<int64_t>()) {
      out += '"' + std::to_string(*i) + '"';
    } else if (const auto* d = k.as<double>()) {
      out += '"' + json_float(*d) + '"';
    } else if (k.is<None>()) {
      out += "\"null\"";
    } else {
      return bad_input(std::string("keys must be str, int, float, bool or None, not ") + type_name(k));
    }
    return {};
  }

  Result<void> object(const Dict& dict, int depth) {
    std::vector<std::pair<Value, Value>> items = dict.items;
    if (style.sort_keys) {
      Error failed;
      bool ok = true;
      std::stable_sort(items.begin(), items.end(), [&](const auto& a, const auto& b) {
        const auto before = less(a.first, b.first, budget);
        if (!before && ok) ok = false, failed = before.error();
        return before && *before;
      });
      if (!ok) return tl::unexpected(failed);
    }
    out += '{';
    for (size_t i = 0; i < items.size(); ++i) {
      separate(i == 0, depth + 1);
      LISSOM_CHECK(key(items[i].first));
      out += style.key;
      LISSOM_CHECK(value(items[i].second, depth + 1));
    }
    if (!items.empty()) line(depth);
    out += '}';
    return {};
  }

  Result<void> value(const Value& v, int depth) {
    LISSOM_CHECK(budget.step());
    const size_t before = out.size();
    LISSOM_CHECK(budget.charge(style.indented ? style.indent.size() * static_cast<size_t>(depth) + 1 : 0));
    if (const std::string* s = v.text()) {
      write_string(out, *s, style.ensure_ascii);
    } else if (const auto* p = v.as<std::shared_ptr<Sequence>>();
               p != nullptr && ((*p)->kind == Sequence::Kind::list || (*p)->kind == Sequence::Kind::tuple)) {
      out += '[';
      for (size_t i = 0; i < (*p)->items.size(); ++i) {
        separate(i == 0, depth + 1);
        LISSOM_CHECK(value((*p)->items[i], depth + 1));
      }
      if (!(*p)->items.empty()) line(depth);
      out += ']';
    } else if (const auto* d = v.as<std::shared_ptr<Dict>>(); d != nullptr && !(*d)->is_namespace) {
      LISSOM_CHECK(object(**d, depth));
    } else if (v.is<None>()) {
      out += "null";
    } else if (const auto* b = v.as<bool>()) {
      out += *b ? "true" : "false";
    } else if (const auto* i = v.as<int64_t>()) {
      out += std::to_string(*i);
    } else if (const auto* x = v.as<double>()) {
      out += json_float(*x);
    } else {
      return bad_input(std::string("Object of type ") + type_name(v) + " is not JSON serializable");
    }
    return budget.charge(out.size() - before);
  }
};

/// Builds values as nlohmann's parser meets them.
class Builder : public nlohmann::json_sax<nlohmann::json> {
 public:
  Value root;
  std::string error;

  bool null() override { return add(Value(None{})); }
  bool boolean(bool b) override { return add(Value(b)); }
  bool number_integer(int64_t i) override { return add(Value(i)); }
  bool number_unsigned(uint64_t u) override {
    if (u > static_cast<uint64_t>(INT64_MAX)) return fail("an integer beyond 64 bits");
    return add(Value(static_cast<int64_t>(u)));
  }
  bool number_float(double d, const std::string& text) override {
    if (text.find_first_of(".eE") == std::string::npos) return fail("an integer beyond 64 bits");
    return add(Value(d));
  }
  bool string(std::string& s) override { return add(string_value(s)); }
  bool binary(nlohmann::json::binary_t& /*b*/) override { return fail("binary data"); }
  bool start_object(size_t /*n*/) override { return open(false); }
  bool start_array(size_t /*n*/) override { return open(true); }
  bool key(std::string& k) override {
    open_.back().keys.push_back(k);
    return true;
  }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool parse_error(size_t at, const std::string& /*token*/, const nlohmann::json::exception& /*e*/) override {
    return fail("not JSON at byte " + std::to_string(at));
  }

 private:
  struct Open {
    bool array;
    std::vector<std::string> keys;
    std::vector<Value> values;
  };
  bool fail(std::string why) {
    if (error.empty()) error = std::move(why);
    return false;
  }
  bool open(bool array) {
    if (open_.size() >= 64) return fail("nested deeper than 64");
    open_.push_back({array, {}, {}});
    return true;
  }
  bool close() {
    Open done = std::move(open_.back());
    open_.pop_back();
    std::vector<std::pair<Value, Value>> items;
    for (size_t i = 0; i < done.keys.size(); ++i)
      items.emplace_back(string_value(std::move(done.keys[i])), std::move(done.values[i]));
    auto made = done.array ? make_list(std::move(done.values), budget_) : make_dict(items, budget_);
    return made ? add(*std::move(made)) : fail(made.error().message);
  }
  bool add(Value v) {
    if (open_.empty()) {
      root = std::move(v);
    } else {
      open_.back().values.push_back(std::move(v));
    }
    return true;
  }
  std::vector<Open> open_;
  Budget budget_;
};

}  // namespace

Result<std::string> to_json(const Value& v, const JsonStyle& style, Budget& budget) {
  Writer writer{style, budget, {}};
  LISSOM_CHECK(writer.value(v, 0));
  return std::move(writer.out);
}

Result<Value> from_json(std::string_view text, const std::string& origin) {
  Builder builder;
  if (!unicode::is_valid_utf8(text)) return bad_input(origin + ": not UTF-8");
  if (!nlohmann::json::sax_parse(text.begin(), text.end(), &builder))
    return bad_input(origin + ": " + builder.error);
  return std::move(builder.root);
}

}  // namespace lissom::chat
