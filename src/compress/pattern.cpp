#include "compress/pattern.h"

#include <oniguruma.h>

namespace lissom {
namespace {

constexpr unsigned long kRetryLimit = 1'000'000;
constexpr unsigned int kStackLimit = 100'000;

std::string reason(int code, OnigErrorInfo* info) {
  OnigUChar buffer[ONIG_MAX_ERROR_MESSAGE_LEN];
  const int n = onig_error_code_to_str(buffer, code, info);
  return {reinterpret_cast<const char*>(buffer), static_cast<size_t>(n)};
}

const OnigUChar* bytes(std::string_view text) {
  return reinterpret_cast<const OnigUChar*>(text.data());
}

}  // namespace

struct Pattern::Compiled {
  std::string expression;
  OnigRegex regex = nullptr;
  Compiled() = default;
  Compiled(const Compiled&) = delete;
  Compiled& operator=(const Compiled&) = delete;
  ~Compiled() {
    if (regex != nullptr) onig_free(regex);
  }
};

Result<Pattern> Pattern::compile(const std::string& expression) {
  auto compiled = std::make_shared<Compiled>();
  compiled->expression = expression;
  OnigErrorInfo info{};
  const OnigUChar* begin = bytes(compiled->expression);
  const int code = onig_new(&compiled->regex, begin, begin + expression.size(), ONIG_OPTION_NONE,
                            ONIG_ENCODING_UTF8, ONIG_SYNTAX_RUBY, &info);
  if (code != ONIG_NORMAL)
    return bad_input("bad regular expression '" + expression + "': " + reason(code, &info));
  Pattern pattern;
  pattern.compiled_ = std::move(compiled);
  return pattern;
}

Result<bool> Pattern::found_in(std::string_view text) const {
  OnigMatchParam* limits = onig_new_match_param();
  if (limits == nullptr) return io_error("out of memory");
  onig_initialize_match_param(limits);
  onig_set_retry_limit_in_match_of_match_param(limits, kRetryLimit);
  onig_set_retry_limit_in_search_of_match_param(limits, kRetryLimit);
  onig_set_match_stack_limit_size_of_match_param(limits, kStackLimit);
  const OnigUChar* begin = bytes(text);
  const OnigUChar* end = begin + text.size();
  const int found =
      onig_search_with_param(compiled_->regex, begin, end, begin, end, nullptr, ONIG_OPTION_NONE, limits);
  onig_free_match_param(limits);
  if (found >= 0) return true;
  if (found == ONIG_MISMATCH) return false;
  return bad_input("regular expression '" + compiled_->expression + "' on '" + std::string(text) +
                   "': " + reason(found, nullptr));
}

}  // namespace lissom
