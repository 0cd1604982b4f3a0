// Filters that order and pick: a filter is one function and one line in the
// list at the end.

#include <algorithm>
#include <utility>

#include "base/text.h"
#include "tokenizer/chat/filters.h"

namespace lissom::chat {
namespace {

Result<Value> folded(Interpreter& in, const Value& v, bool case_sensitive) {
  if (case_sensitive || v.text() == nullptr) return v;
  return make_text(lower(*v.text()), in.budget());
}

struct Keyed {
  Value key, item;
};

Result<std::vector<Keyed>> keyed(Interpreter& in, const Value& v, const Value* attribute, bool case_sensitive) {
  LISSOM_TRY(const std::vector<Value> all, iterate(v, in.budget()));
  std::vector<Keyed> out;
  out.reserve(all.size());
  if (attribute != nullptr && attribute->text() != nullptr && attribute->text()->find(',') != std::string::npos)
    return bad_input("sorting by several attributes is not supported");
  for (const Value& item : all) {
    Value key = item;
    if (attribute != nullptr && !attribute->is<None>()) {
      LISSOM_TRY(key, by_path(in, item, *attribute, nullptr));
    }
    LISSOM_TRY(key, folded(in, key, case_sensitive));
    out.push_back({std::move(key), item});
  }
  return out;
}

Result<void> sort_by_key(std::vector<Keyed>& all, bool reverse, Budget& budget) {
  Result<void> failed;
  std::stable_sort(all.begin(), all.end(), [&](const Keyed& a, const Keyed& b) {
    if (!failed) return false;
    const auto before = reverse ? less(b.key, a.key, budget) : less(a.key, b.key, budget);
    if (!before) failed = tl::unexpected(before.error());
    return before && *before;
  });
  return failed;
}

Result<Value> sort(Interpreter& in, const Value& v, const Arguments& a) {
  LISSOM_TRY(const Bound b, Bound::bind(a, {"reverse", "case_sensitive", "attribute"}));
  LISSOM_TRY(std::vector<Keyed> all, keyed(in, v, b[2], b.flag(1, false)));
  LISSOM_CHECK(sort_by_key(all, b.flag(0, false), in.budget()));
  std::vector<Value> out;
  out.reserve(all.size());
  for (Keyed& k : all) out.push_back(std::move(k.item));
  return make_list(std::move(out), in.budget());
}

Result<Value> dictsort(Interpreter& in, const Value& v, const Arguments& a) {
  LISSOM_TRY(const Bound b, Bound::bind(a, {"case_sensitive", "by", "reverse"}));
  LISSOM_TRY(const std::string by, b.text(1, "key"));
  if (by != "key" && by != "value") return bad_input("You can only sort by either \"key\" or \"value\"");
  const auto* d = v.as<std::shared_ptr<Dict>>();
  if (d == nullptr || (*d)->is_namespace) return bad_input(std::string("'") + type_name(v) + "' has no items");
  std::vector<Keyed> all;
  for (const auto& [key, value] : (*d)->items) {
    LISSOM_TRY(Value pair, make_sequence({key, value}, Sequence::Kind::tuple, in.budget()));
    LISSOM_TRY(Value k, folded(in, by == "key" ? key : value, b.flag(0, false)));
    all.push_back({std::move(k), std::move(pair)});
  }
  LISSOM_CHECK(sort_by_key(all, b.flag(2, false), in.budget()));
  std::vector<Value> out;
  out.reserve(all.size());
  for (Keyed& k : all) out.push_back(std::move(k.item));
  return make_list(std::move(out), in.budget());
}

Result<Value> unique(Interpreter& in, const Value& v, const Arguments& a) {
  LISSOM_TRY(const Bound b, Bound::bind(a, {"case_sensitive", "attribute"}));
  LISSOM_TRY(const std::vector<Keyed> all, keyed(in, v, b[1], b.flag(0, false)));
  std::vector<Value> seen, out;
  for (const Keyed& k : all) {
    if (k.key.is<std::shared_ptr<Dict>>() ||
        (k.key.is<std::shared_ptr<Sequence>>() &&
         (*k.key.as<std::shared_ptr<Sequence>>())->kind == Sequence::Kind::list))
      return bad_input(std::string("unhashable type: '") + type_name(k.key) + "'");
    bool known = false;
    for (const Value& s : seen) {
      LISSOM_TRY(known, equal(s, k.key, in.budget()));
      if (known) break;
    }
    if (known) continue;
    seen.push_back(k.key);
    out.push_back(k.item);
  }
  return generator(std::move(out), in);
}

template <bool kMax>
Result<Value> extreme(Interpreter& in, const Value& v, const Arguments& a) {
  LISSOM_TRY(const Bound b, Bound::bind(a, {"case_sensitive", "attribute"}));
  LISSOM_TRY(const std::vector<Keyed> all, keyed(in, v, b[1], b.flag(0, false)));
  if (all.empty()) return undefined("No aggregated item, sequence was empty.");
  size_t best = 0;
  for (size_t i = 1; i < all.size(); ++i) {
    LISSOM_TRY(const bool better, kMax ? less(all[best].key, all[i].key, in.budget())
                                       : less(all[i].key, all[best].key, in.budget()));
    if (better) best = i;
  }
  return all[best].item;
}

Result<Value> reverse(Interpreter& in, const Value& v, const Arguments& a) {
  LISSOM_TRY([[maybe_unused]] const Bound b, Bound::bind(a, {}));
  if (const std::string* text = v.text()) {
    std::u32string all = code_points(*text);
    std::reverse(all.begin(), all.end());
    return make_text(utf8(all), in.budget());
  }
  LISSOM_TRY(std::vector<Value> all, iterate(v, in.budget()));
  const auto* s = v.as<std::shared_ptr<Sequence>>();
  const bool made = s != nullptr && (*s)->kind == Sequence::Kind::generator;
  std::reverse(all.begin(), all.end());
  return made ? make_list(std::move(all), in.budget()) : generator(std::move(all), in);
}

Result<Value> batch(Interpreter& in, const Value& v, const Arguments& a) {
  LISSOM_TRY(const Bound b, Bound::bind(a, {"linecount", "fill_with"}, 1));
  LISSOM_TRY(const int64_t n, b.integer(0, 1));
  LISSOM_TRY(const std::vector<Value> all, iterate(v, in.budget()));
  if (n < 1 || n > 1'000'000) return bad_input("a batch of " + std::to_string(n));
  std::vector<Value> out, part;
  const auto flush = [&]() -> Result<void> {
    LISSOM_TRY(Value one, make_list(std::exchange(part, {}), in.budget()));
    out.push_back(std::move(one));
    return {};
  };
  for (const Value& item : all) {
    if (static_cast<int64_t>(part.size()) == n) LISSOM_CHECK(flush());
    part.push_back(item);
  }
  if (!part.empty()) {
    while (b[1] != nullptr && !b[1]->is<None>() && static_cast<int64_t>(part.size()) < n) part.push_back(*b[1]);
    LISSOM_CHECK(flush());
  }
  return generator(std::move(out), in);
}

constexpr Named kFilters[] = {
    {"sort", sort},         {"dictsort", dictsort}, {"unique", unique}, {"min", extreme<false>},
    {"max", extreme<true>}, {"reverse", reverse},   {"batch", batch},
};

}  // namespace

std::span<const Named> order_filters() {
  return kFilters;
}

}  // namespace lissom::chat
