// Any bytes as a chat template over a conversation: an error that says where, or a text. Nothing hangs.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "lissom/chat.h"

namespace {

constexpr std::string_view kVariables = R"({"messages": [{"role": "system", "content": " s "},
  {"role": "user", "content": "a\nb"}, {"role": "assistant", "content": null, "tool_calls": [{"function":
  {"name": "f", "arguments": {"x": 1.5, "y": [true, null]}}}]}], "tools": [{"function": {"name": "f"}}],
  "add_generation_prompt": true, "bos_token": "<s>", "n": 3})";

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view source(reinterpret_cast<const char*>(data), size);
  const auto parsed = lissom::ChatTemplate::parse(source, "fuzz");
  if (!parsed) {
    if (!parsed.error().message.starts_with("fuzz:")) std::abort();
    return 0;
  }
  const auto text = (*parsed)->render(kVariables, 0);
  if (!text && !text.error().message.starts_with("fuzz:")) std::abort();
  const auto again = (*parsed)->render(kVariables, 0);
  if (text.has_value() != again.has_value() || (text && *text != *again)) std::abort();
  return 0;
}
