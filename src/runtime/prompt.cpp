#include <algorithm>
#include <vector>

#include "lissom/runtime.h"

namespace lissom {

Result<std::span<const float>> read_prompt(Session& session, std::span<const int32_t> tokens, int64_t at_once) {
  if (tokens.empty()) return bad_input("an empty prompt: there is no token to continue from");
  const auto step = static_cast<size_t>(std::max<int64_t>(at_once, 1));
  std::vector<uint8_t> wanted(std::min(step, tokens.size()), 0);
  for (; tokens.size() > step; tokens = tokens.subspan(step)) {
    Batch batch;
    batch.tokens = tokens.first(step);
    batch.wanted = wanted;
    LISSOM_TRY([[maybe_unused]] const auto none, session.run(batch));
  }
  wanted.resize(tokens.size());
  wanted.back() = 1;
  Batch batch;
  batch.tokens = tokens;
  batch.wanted = wanted;
  return session.run(batch);
}

}  // namespace lissom
