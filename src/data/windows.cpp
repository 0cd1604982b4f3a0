#include "data/windows.h"

#include <algorithm>
#include <string>

namespace lissom {

void Windows::input(int64_t window, std::span<int32_t> out) const {
  std::copy_n(tokens.begin() + window * context, context, out.begin());
  if (bos) out[0] = *bos;
}

std::optional<int32_t> leading_token(const Tokenizer& tokenizer) {
  const std::vector<int32_t> plain = tokenizer.encode("a", false).ids;
  const std::vector<int32_t> special = tokenizer.encode("a", true).ids;
  if (special.size() <= plain.size() || (!plain.empty() && special.front() == plain.front())) return {};
  return special.front();
}

Result<Windows> cut_windows(const Tokenizer& tokenizer, std::string_view text, int64_t context,
                            int64_t chunks) {
  if (context < 4) return bad_input("a window needs at least 4 tokens, not " + std::to_string(context));
  if (chunks < 0) return bad_input("the number of windows cannot be negative: " + std::to_string(chunks));
  if (text.ends_with('\n')) text.remove_suffix(1);
  Windows windows{.tokens = {}, .context = context, .count = 0, .bos = leading_token(tokenizer)};
  windows.tokens = tokenizer.encode(text, false).ids;
  if (windows.bos) windows.tokens.insert(windows.tokens.begin(), *windows.bos);
  const auto have = static_cast<int64_t>(windows.tokens.size());
  windows.count = have / context;
  if (windows.count == 0) {
    return bad_input("the text has " + std::to_string(have) + " tokens, but one window needs " +
                     std::to_string(context) + ": give a longer text or a smaller context");
  }
  if (chunks > 0) windows.count = std::min(windows.count, chunks);
  return windows;
}

}  // namespace lissom
