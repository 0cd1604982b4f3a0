// Methods of strings, lists and dicts: each is one function and one line in the list of its type.

#include <algorithm>
#include <span>

#include "base/text.h"
#include "tokenizer/chat/interpreter.h"
#include "tokenizer/unicode.h"

namespace lissom::chat {
namespace {

Result<std::string> text_argument(const Bound& b, size_t i) {
  return b.text(i, "");
}

template <bool kLeft, bool kRight>
Result<Value> strip_method(Interpreter& in, const Value& v, const Arguments& a) {
  LISSOM_TRY(const Bound b, Bound::bind(a, {"chars"}));
  const std::string& text = *v.text();
  if (b[0] == nullptr || b[0]->is<None>()) return make_text(strip(text, kLeft, kRight), in.budget());
  LISSOM_TRY(const std::string set, text_argument(b, 0));
  const std::u32string chars = code_points(set), all = code_points(text);
  size_t begin = 0, end = all.size();
  while (kLeft && begin < end && chars.find(all[begin]) != std::u32string::npos) ++begin;
  while (kRight && begin < end && chars.find(all[end - 1]) != std::u32string::npos) --end;
  return make_text(utf8(std::u32string_view(all).substr(begin, end - begin)), in.budget());
}

Result<Value> texts(std::vector<std::string> parts, Interpreter& in) {
  std::vector<Value> out;
  for (std::string& part : parts) {
    LISSOM_TRY(Value v, make_text(std::move(part), in.budget()));
    out.push_back(std::move(v));
  }
  return make_list(std::move(out), in.budget());
}

/// At runs of white space, from the left or the right, at most `most` times.
std::vector<std::string> split_words(std::string_view text, int64_t most, bool from_right) {
  std::vector<std::string> out;
  const char *begin = text.data(), *end = begin + text.size();
  const auto space = [](const char* p) { return is_space(unicode::decode(p)); };
  for (;; --most) {
    while (begin < end && space(begin)) begin += unicode::sequence_length(*begin);
    while (from_right && begin < end && space(unicode::previous(end))) end = unicode::previous(end);
    if (begin >= end) break;
    if (most == 0) {
      out.push_back(from_right ? strip({begin, static_cast<size_t>(end - begin)}, false, true)
                               : std::string(begin, end));
      break;
    }
    if (from_right) {
      const char* p = end;
      while (p > begin && !space(unicode::previous(p))) p = unicode::previous(p);
      out.emplace_back(p, end);
      end = p;
    } else {
      const char* p = begin;
      while (p < end && !space(p)) p += unicode::sequence_length(*p);
      out.emplace_back(begin, p);
      begin = p;
    }
  }
  if (from_right) std::reverse(out.begin(), out.end());
  return out;
}

template <bool kRight>
Result<Value> split(Interpreter& in, const Value& v, const Arguments& a) {
  LISSOM_TRY(const Bound b, Bound::bind(a, {"sep", "maxsplit"}));
  LISSOM_TRY(int64_t most, b.integer(1, -1));
  const std::string& text = *v.text();
  LISSOM_CHECK(in.budget().charge(text.size()));
  if (b[0] == nullptr || b[0]->is<None>()) return texts(split_words(text, most, kRight), in);
  LISSOM_TRY(const std::string separator, text_argument(b, 0));
  if (separator.empty()) return bad_input("empty separator");
  std::vector<std::string> out;
  if (kRight) {
    size_t end = text.size();
    for (; most != 0; --most) {
      if (end < separator.size()) break;
      const size_t at = text.rfind(separator, end - separator.size());
      if (at == std::string::npos) break;
      out.push_back(text.substr(at + separator.size(), end - at - separator.size()));
      end = at;
    }
    out.push_back(text.substr(0, end));
    std::reverse(out.begin(), out.end());
  } else {
    size_t begin = 0;
    for (; most != 0; --most) {
      const size_t at = text.find(separator, begin);
      if (at == std::string::npos) break;
      out.push_back(text.substr(begin, at - begin));
      begin = at + separator.size();
    }
    out.push_back(text.substr(begin));
  }
  return texts(std::move(out), in);
}

Result<Value> split_lines_method(Interpreter& in, const Value& v, const Arguments& a) {
  LISSOM_TRY(const Bound b, Bound::bind(a, {"keepends"}));
  return texts(split_lines(*v.text(), b.flag(0, false)), in);
}

template <bool kLast>
Result<Value> partition(Interpreter& in, const Value& v, const Arguments& a) {
  LISSOM_TRY(const Bound b, Bound::bind(a, {"sep"}, 1));
  LISSOM_TRY(const std::string separator, text_argument(b, 0));
  if (separator.empty()) return bad_input("empty separator");
  const std::string& text = *v.text();
  const size_t at = kLast ? text.rfind(separator) : text.find(separator);
  std::vector<Value> out;
  if (at == std::string::npos) {
    out = {v, string_value(""), string_value("")};
    if (kLast) std::swap(out[0], out[2]);
  } else {
    out = {string_value(text.substr(0, at)), string_value(separator),
           string_value(text.substr(at + separator.size()))};
  }
  LISSOM_CHECK(in.budget().charge(text.size()));
  return make_sequence(std::move(out), Sequence::Kind::tuple, in.budget());
}

/// The part of a text between two positions, which count code points, as Python's slices do.
Result<std::string> window(const std::string& text, const Bound& b, size_t first, int64_t& offset, bool& past) {
  offset = 0;
  past = false;
  if (b[first] == nullptr && b[first + 1] == nullptr) return text;
  const std::u32string all = code_points(text);
  const auto n = static_cast<int64_t>(all.size());
  int64_t begin = 0, end = n;
  for (const auto& [slot, i] : {std::pair{&begin, first}, {&end, first + 1}}) {
    if (b[i] == nullptr || b[i]->is<None>()) continue;
    LISSOM_TRY(*slot, b.integer(i, 0));
    if (*slot < 0) *slot = std::max<int64_t>(*slot < -n ? 0 : *slot + n, 0);
  }
  past = begin > n;
  end = std::min(end, n);
  offset = begin;
  if (begin >= end) {
    past = past || begin > end;
    return std::string();
  }
  return utf8(std::u32string_view(all).substr(static_cast<size_t>(begin), static_cast<size_t>(end - begin)));
}

template <bool kEnd>
Result<Value> affix(Interpreter& in, const Value& v, const Arguments& a) {
  LISSOM_TRY(const Bound b, Bound::bind(a, {"prefix", "start", "end"}, 1));
  int64_t offset = 0;
  bool past = false;
  LISSOM_TRY(const std::string text, window(*v.text(), b, 1, offset, past));
  std::vector<Value> candidates{*b[0]};
  if (const auto* s = b[0]->as<std::shared_ptr<Sequence>>();
      s != nullptr && (*s)->kind == Sequence::Kind::tuple) {
    LISSOM_TRY(candidates, iterate(*b[0], in.budget()));
  }
  for (const Value& c : candidates) {
    const std::string* part = c.text();
    if (part == nullptr)
      return bad_input(std::string("expected a string or a tuple of them, got ") + type_name(c));
    if (!past && (kEnd ? text.ends_with(*part) : text.starts_with(*part))) return Value(true);
  }
  return Value(false);
}

int64_t count_points(std::string_view text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xc0U) != 0x80U; });
}

template <bool kLast, bool kMust>
Result<Value> find(Interpreter& in, const Value& v, const Arguments& a) {
  LISSOM_TRY(const Bound b, Bound::bind(a, {"sub", "start", "end"}, 1));
  LISSOM_TRY(const std::string part, text_argument(b, 0));
  int64_t offset = 0;
  bool past = false;
  LISSOM_TRY(const std::string text, window(*v.text(), b, 1, offset, past));
  LISSOM_CHECK(in.budget().charge(text.size()));
  const size_t at = kLast ? text.rfind(part) : text.find(part);
  if (!past && at != std::string::npos)
    return Value(offset + count_points(std::string_view(text).substr(0, at)));
  if (kMust) return bad_input("substring not found");
  return Value(int64_t{-1});
}

Result<Value> count(Interpreter& in, const Value& v, const Arguments& a) {
  LISSOM_TRY(const Bound b, Bound::bind(a, {"sub", "start", "end"}, 1));
  LISSOM_TRY(const std::string part, text_argument(b, 0));
  int64_t offset = 0;
  bool past = false;
  LISSOM_TRY(const std::string text, window(*v.text(), b, 1, offset, past));
  LISSOM_CHECK(in.budget().charge(text.size()));
  if (past) return Value(int64_t{0});
  if (part.empty()) return Value(count_points(text) + 1);
  int64_t n = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++n;
  return Value(n);
}

Result<Value> replace_method(Interpreter& in, const Value& v, const Arguments& a) {
  LISSOM_TRY(const Bound b, Bound::bind(a, {"old", "new", "count"}, 2));
  LISSOM_TRY(const std::string from, b.text(0, ""));
  LISSOM_TRY(const std::string to, b.text(1, ""));
  LISSOM_TRY(const int64_t most, b.integer(2, -1));
  LISSOM_TRY(std::string out, replace(*v.text(), from, to, most, in.budget()));
  return string_value(std::move(out));
}

template <std::string (*kChange)(std::string_view)>
Result<Value> change(Interpreter& in, const Value& v, const Arguments& a) {
  LISSOM_TRY([[maybe_unused]] const Bound b, Bound::bind(a, {}));
  return make_text(kChange(*v.text()), in.budget());
}

Result<Value> join_method(Interpreter& in, const Value& v, const Arguments& a) {
  LISSOM_TRY(const Bound b, Bound::bind(a, {"iterable"}, 1));
  LISSOM_TRY(const std::vector<Value> items, iterate(*b[0], in.budget()));
  std::string out;
  for (size_t i = 0; i < items.size(); ++i) {
    const std::string* text = items[i].text();
    if (text == nullptr)
      return bad_input("sequence item " + std::to_string(i) + ": expected str instance, " +
                       type_name(items[i]) + " found");
    LISSOM_CHECK(in.budget().charge(text->size() + v.text()->size()));
    if (i > 0) out += *v.text();
    out += *text;
  }
  return string_value(std::move(out));
}

enum class Pad { left, right, both, zeros };
template <Pad kPad>
Result<Value> pad(Interpreter& in, const Value& v, const Arguments& a) {
  LISSOM_TRY(const Bound b, Bound::bind(a, {"width", "fillchar"}, 1));
  LISSOM_TRY(const int64_t width, b.integer(0, 0));
  LISSOM_TRY(const std::string fill, b.text(1, kPad == Pad::zeros ? "0" : " "));
  if (count_points(fill) != 1) return bad_input("The fill character must be exactly one character long");
  const std::string& text = *v.text();
  const int64_t missing = width - count_points(text);
  if (missing <= 0) return v;
  LISSOM_CHECK(in.budget().charge(static_cast<size_t>(missing) * fill.size() + text.size()));
  // Python puts the odd one to the left where width is odd too.
  const int64_t left = kPad == Pad::left    ? 0
                       : kPad == Pad::right ? missing
                       : kPad == Pad::zeros ? missing
                                            : missing / 2 + (missing & width & 1);
  std::string before, after;
  for (int64_t i = 0; i < missing; ++i) (i < left ? before : after) += fill;
  if (kPad == Pad::zeros && !text.empty() && (text[0] == '-' || text[0] == '+'))
    return string_value(text.substr(0, 1) + before + text.substr(1));
  return string_value(before + text + after);
}

template <bool kSuffix>
Result<Value> remove_affix(Interpreter& in, const Value& v, const Arguments& a) {
  LISSOM_TRY(const Bound b, Bound::bind(a, {"affix"}, 1));
  LISSOM_TRY(const std::string part, text_argument(b, 0));
  const std::string& text = *v.text();
  if (part.empty() || !(kSuffix ? text.ends_with(part) : text.starts_with(part))) return v;
  return make_text(kSuffix ? text.substr(0, text.size() - part.size()) : text.substr(part.size()), in.budget());
}

/// Whether each character, and at least one, is of a class.
template <bool (*kIs)(char32_t)>
Result<Value> all_are(Interpreter& in, const Value& v, const Arguments& a) {
  LISSOM_TRY([[maybe_unused]] const Bound b, Bound::bind(a, {}));
  const std::u32string all = code_points(*v.text());
  LISSOM_CHECK(in.budget().step(static_cast<int64_t>(all.size() / 16)));
  return Value(!all.empty() && std::all_of(all.begin(), all.end(), kIs));
}
bool is_alpha(char32_t c) {
  return (unicode::classes(c) & unicode::kLetter) != 0;
}
bool is_digit(char32_t c) {
  return c < 0x80 ? c >= '0' && c <= '9' : (unicode::classes(c) & unicode::kNumeric) != 0;
}
bool is_alnum(char32_t c) {
  return is_alpha(c) || is_digit(c);
}

template <bool kUpper>
Result<Value> is_case(Interpreter& in, const Value& v, const Arguments& a) {
  LISSOM_TRY([[maybe_unused]] const Bound b, Bound::bind(a, {}));
  const std::string& text = *v.text();
  LISSOM_CHECK(in.budget().charge(2 * text.size()));
  const std::string up = upper(text), low = lower(text);
  return Value(up != low && text == (kUpper ? up : low));
}

// ---------------------------------------------------------------- dict, list

Result<Value> dict_get(Interpreter& /*in*/, const Value& v, const Arguments& a) {
  LISSOM_TRY(const Bound b, Bound::bind(a, {"key", "default"}, 1));
  const Value* found = (*v.as<std::shared_ptr<Dict>>())->find(*b[0]);
  if (found != nullptr) return *found;
  return b[1] == nullptr ? Value(None{}) : *b[1];
}

enum class View { keys, values, items };
template <View kView>
Result<Value> dict_view(Interpreter& in, const Value& v, const Arguments& a) {
  LISSOM_TRY([[maybe_unused]] const Bound b, Bound::bind(a, {}));
  std::vector<Value> out;
  for (const auto& [key, value] : (*v.as<std::shared_ptr<Dict>>())->items) {
    if (kView == View::items) {
      LISSOM_TRY(Value pair, make_sequence({key, value}, Sequence::Kind::tuple, in.budget()));
      out.push_back(std::move(pair));
    } else {
      out.push_back(kView == View::keys ? key : value);
    }
  }
  constexpr const char* kLabels[] = {"dict_keys", "dict_values", "dict_items"};
  return make_sequence(std::move(out), Sequence::Kind::view, in.budget(), kLabels[static_cast<size_t>(kView)]);
}

template <bool kIndex>
Result<Value> list_find(Interpreter& in, const Value& v, const Arguments& a) {
  LISSOM_TRY(const Bound b, Bound::bind(a, {"value"}, 1));
  int64_t n = 0;
  const auto& items = (*v.as<std::shared_ptr<Sequence>>())->items;
  for (size_t i = 0; i < items.size(); ++i) {
    LISSOM_TRY(const bool same, equal(items[i], *b[0], in.budget()));
    if (same && kIndex) return Value(static_cast<int64_t>(i));
    n += same ? 1 : 0;
  }
  if (kIndex) return bad_input("the value is not in the list");
  return Value(n);
}

Result<Value> copy(Interpreter& /*in*/, const Value& v, const Arguments& a) {
  LISSOM_TRY([[maybe_unused]] const Bound b, Bound::bind(a, {}));
  return v;  // nothing changes a list or dict
}

constexpr Named kText[] = {
    {"strip", strip_method<true, true>},
    {"lstrip", strip_method<true, false>},
    {"rstrip", strip_method<false, true>},
    {"split", split<false>},
    {"rsplit", split<true>},
    {"splitlines", split_lines_method},
    {"partition", partition<false>},
    {"rpartition", partition<true>},
    {"startswith", affix<false>},
    {"endswith", affix<true>},
    {"removeprefix", remove_affix<false>},
    {"removesuffix", remove_affix<true>},
    {"replace", replace_method},
    {"find", find<false, false>},
    {"rfind", find<true, false>},
    {"index", find<false, true>},
    {"rindex", find<true, true>},
    {"count", count},
    {"join", join_method},
    {"upper", change<upper>},
    {"lower", change<lower>},
    {"title", change<title>},
    {"capitalize", change<capitalize>},
    {"ljust", pad<Pad::left>},
    {"rjust", pad<Pad::right>},
    {"center", pad<Pad::both>},
    {"zfill", pad<Pad::zeros>},
    {"isspace", all_are<is_space>},
    {"isalpha", all_are<is_alpha>},
    {"isdigit", all_are<is_digit>},
    {"isnumeric", all_are<is_digit>},
    {"isalnum", all_are<is_alnum>},
    {"isupper", is_case<true>},
    {"islower", is_case<false>},
};
constexpr Named kDict[] = {
    {"get", dict_get},
    {"keys", dict_view<View::keys>},
    {"values", dict_view<View::values>},
    {"items", dict_view<View::items>},
    {"copy", copy},
};
constexpr Named kList[] = {
    {"index", list_find<true>},
    {"count", list_find<false>},
    {"copy", copy},
};

// What Python has beside: using one is an error, not an undefined value.
constexpr std::string_view kMissingText[] = {
    "casefold",     "encode",      "expandtabs", "format",    "format_map", "isascii",  "isdecimal",
    "isidentifier", "isprintable", "istitle",    "maketrans", "swapcase",   "translate"};
constexpr std::string_view kMissingDict[] = {"clear", "fromkeys", "pop", "popitem", "setdefault", "update"};
constexpr std::string_view kMissingList[] = {"append", "clear",  "extend",  "insert",
                                             "pop",    "remove", "reverse", "sort"};

bool among(std::span<const std::string_view> names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool is_list(const Value& v, bool tuple) {
  const auto* s = v.as<std::shared_ptr<Sequence>>();
  return s != nullptr && ((*s)->kind == Sequence::Kind::list || (tuple && (*s)->kind == Sequence::Kind::tuple));
}

}  // namespace

Function find_method(const Value& v, std::string_view name) {
  std::span<const Named> methods;
  if (v.text() != nullptr) methods = kText;
  if (const auto* d = v.as<std::shared_ptr<Dict>>(); d != nullptr && !(*d)->is_namespace) methods = kDict;
  if (is_list(v, true)) methods = kList;
  for (const Named& m : methods)
    if (m.name == name && !(name == "copy" && is_list(v, true) && !is_list(v, false))) return m.function;
  return nullptr;
}

bool is_missing_method(const Value& v, std::string_view name) {
  if (name.starts_with("__")) return true;
  if (v.text() != nullptr) return among(kMissingText, name);
  if (v.is<std::shared_ptr<Dict>>()) return among(kMissingDict, name);
  return is_list(v, false) && among(kMissingList, name);
}

}  // namespace lissom::chat
