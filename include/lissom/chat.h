#pragma once
// Chat templates: the Jinja subset that models' templates use, with the output that transformers' sandboxed
// Jinja 3.1 gives (trim_blocks, lstrip_blocks).

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lissom/gguf.h"
#include "lissom/result.h"

namespace lissom {

struct ChatMessage {
  std::string role, content;
};

/// Immutable; may be rendered from several threads. Templates are untrusted: a render ends after 20 million
/// steps, 128 MiB of text made on the way, 16 MiB of output or 400 levels of nesting, whichever comes first,
/// with an error.
class ChatTemplate {
 public:
  virtual ~ChatTemplate() = default;
  /// Errors here and from render() read "origin:line:column: what is wrong". Constructs outside the subset are
  /// errors.
  [[nodiscard]] static Result<std::unique_ptr<ChatTemplate>> parse(std::string_view source,
                                                                   const std::string& origin);
  /// The model's own template, tokenizer.chat_template; an error says what to do where there is none.
  [[nodiscard]] static Result<std::unique_ptr<ChatTemplate>> from_gguf(const GgufMetadata& metadata,
                                                                       const std::string& origin);

  /// `variables`: a JSON object: messages, add_generation_prompt, tools, bos_token, … `now`: seconds since 1970
  /// for strftime_now (local time); the clock's by custom.
  [[nodiscard]] virtual Result<std::string> render(std::string_view variables,
                                                   std::optional<int64_t> now = {}) const = 0;
  [[nodiscard]] virtual const std::string& source() const = 0;
};

/// The variables for a conversation, as JSON, with bos_token and eos_token of the model.
[[nodiscard]] std::string chat_variables(const GgufMetadata& metadata, const std::vector<ChatMessage>& messages,
                                         bool add_generation_prompt);

}  // namespace lissom
