#include "tokenizer/regex.h"

#include <oniguruma.h>

#include <array>
#include <list>
#include <mutex>
#include <vector>

#include "tokenizer/unicode.h"

namespace lissom::tok {
namespace {

constexpr unsigned long kRetriesPerMatch = 10'000'000, kRetriesPerSearch = 100'000'000;

/// The categories and groups that have changed since Unicode 14, and \w; Oniguruma has room for twenty names.
constexpr std::array<std::string_view, 19> kCategories = {"L",  "Ll", "Lm", "Lo", "Lu",  "M",  "Mc",
                                                          "Mn", "N",  "Nd", "No", "P",   "Pd", "Po",
                                                          "S",  "Sm", "So", "Cf", "Word"};

/// Oniguruma's tables end at Unicode 14, so what has changed is registered again under names of our own.
void initialize() {
  static std::once_flag once;
  std::call_once(once, [] {
    OnigEncoding encodings[] = {ONIG_ENCODING_UTF8};
    onig_initialize(encodings, 1);
    static std::list<std::vector<OnigCodePoint>> tables;  // Oniguruma keeps the pointers
    for (const std::string_view category : kCategories) {
      const auto ranges = unicode::category_ranges(category);
      std::vector<OnigCodePoint>& table = tables.emplace_back();
      table.push_back(static_cast<OnigCodePoint>(ranges.size()));
      for (const auto& [first, last] : ranges) {
        table.push_back(first);
        table.push_back(last);
      }
      const std::string name = "lissom" + std::string(category);
      onig_unicode_define_user_property(name.c_str(), table.data());
    }
  });
}

/// \p{L} → \p{lissomL}; also \P{…} and \p{^…}, \w, \W, \d and \D. Other escapes stay as they are.
std::string with_own_categories(const std::string& pattern) {
  std::string out;
  for (size_t i = 0; i < pattern.size(); ++i) {
    out += pattern[i];
    if (pattern[i] != '\\' || i + 1 >= pattern.size()) continue;
    ++i;
    if (const size_t short_form = std::string_view("wWdD").find(pattern[i]);
        short_form != std::string_view::npos) {
      constexpr std::string_view kLong[] = {"p{lissomWord}", "P{lissomWord}", "p{lissomNd}", "P{lissomNd}"};
      out += kLong[short_form];
      continue;
    }
    out += pattern[i];
    if ((pattern[i] != 'p' && pattern[i] != 'P') || i + 1 >= pattern.size() || pattern[i + 1] != '{') continue;
    const size_t close = pattern.find('}', i);
    if (close == std::string::npos) continue;
    size_t name = i + 2;
    out += '{';
    if (name < close && pattern[name] == '^') out += pattern[name++];
    const std::string_view category(pattern.data() + name, close - name);
    for (const std::string_view known : kCategories)
      if (category == known) out += "lissom";
    out += category;
    out += '}';
    i = close;
  }
  return out;
}

const OnigUChar* bytes(const char* p) {
  return reinterpret_cast<const OnigUChar*>(p);
}

struct Limits {
  OnigMatchParam* param = onig_new_match_param();
  Limits() {
    onig_initialize_match_param(param);
    onig_set_retry_limit_in_match_of_match_param(param, kRetriesPerMatch);
    onig_set_retry_limit_in_search_of_match_param(param, kRetriesPerSearch);
  }
  ~Limits() { onig_free_match_param(param); }
  Limits(const Limits&) = delete;
  Limits& operator=(const Limits&) = delete;
};

}  // namespace

Result<std::shared_ptr<const Regex>> Regex::compile(const std::string& pattern) {
  initialize();
  if (!unicode::is_valid_utf8(pattern)) return bad_input("the pattern is not UTF-8");
  const std::string own = with_own_categories(pattern);
  OnigRegex compiled = nullptr;
  OnigErrorInfo info;
  const int status = onig_new(&compiled, bytes(own.data()), bytes(own.data() + own.size()), ONIG_OPTION_NONE,
                              ONIG_ENCODING_UTF8, ONIG_SYNTAX_DEFAULT, &info);
  if (status != ONIG_NORMAL) {
    OnigUChar text[ONIG_MAX_ERROR_MESSAGE_LEN];
    const int length = onig_error_code_to_str(text, status, &info);
    return bad_input("Oniguruma: " +
                     std::string(reinterpret_cast<const char*>(text), static_cast<size_t>(length)));
  }
  std::shared_ptr<Regex> regex(new Regex);
  regex->compiled_ = compiled;
  return regex;
}

Regex::~Regex() {
  if (compiled_ != nullptr) onig_free(static_cast<OnigRegex>(compiled_));
}

void Regex::find_all(std::string_view text, FunctionRef<void(size_t, size_t)> found) const {
  auto* const regex = static_cast<OnigRegex>(compiled_);
  const Limits limits;
  std::unique_ptr<OnigRegion, void (*)(OnigRegion*)> region(onig_region_new(),
                                                            [](OnigRegion* r) { onig_region_free(r, 1); });
  const OnigUChar* const begin = bytes(text.data());
  const OnigUChar* const end = begin + text.size();
  size_t from = 0, last_end = SIZE_MAX;
  while (from <= text.size()) {
    const int at = onig_search_with_param(regex, begin, end, begin + from, end, region.get(), ONIG_OPTION_NONE,
                                          limits.param);
    if (at < 0) return;
    const auto s = static_cast<size_t>(region->beg[0]), e = static_cast<size_t>(region->end[0]);
    if (s == e && last_end == e) {
      if (from >= text.size()) return;
      from += static_cast<size_t>(unicode::sequence_length(text[from]));
      continue;
    }
    found(s, e);
    from = last_end = e;
  }
}

}  // namespace lissom::tok
