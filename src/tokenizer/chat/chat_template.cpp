#include "lissom/chat.h"

#include <ctime>

#include "format/json.h"
#include "tokenizer/chat/interpreter.h"
#include "tokenizer/unicode.h"

namespace lissom {
namespace {

constexpr size_t kLongestTemplate = size_t{4} << 20;

class Template : public ChatTemplate {
 public:
  Template(std::string source, std::string origin)
      : given_(std::move(source)), source_(chat::normalize_source(given_)), origin_(std::move(origin)) {}
  Result<void> parse() {
    LISSOM_TRY(body_, chat::parse(source_, origin_));
    return {};
  }
  [[nodiscard]] Result<std::string> render(std::string_view variables,
                                           std::optional<int64_t> now) const override {
    LISSOM_TRY(const chat::Value values, chat::from_json(variables, origin_ + ": variables"));
    chat::Interpreter interpreter(source_, origin_, now ? *now : static_cast<int64_t>(std::time(nullptr)));
    return interpreter.render(body_, values);
  }
  [[nodiscard]] const std::string& source() const override { return given_; }

 private:
  std::string given_, source_, origin_;
  chat::Body body_;
};

}  // namespace

Result<std::unique_ptr<ChatTemplate>> ChatTemplate::parse(std::string_view source, const std::string& origin) {
  if (source.size() > kLongestTemplate)
    return bad_input(origin + ": a template of " + std::to_string(source.size()) + " bytes");
  if (!unicode::is_valid_utf8(source)) return bad_input(origin + ": the template is not UTF-8");
  auto parsed = std::make_unique<Template>(std::string(source), origin);
  LISSOM_CHECK(parsed->parse());
  return parsed;
}

Result<std::unique_ptr<ChatTemplate>> ChatTemplate::from_gguf(const GgufMetadata& metadata,
                                                              const std::string& origin) {
  const std::string source = metadata.string_or("tokenizer.chat_template", "");
  if (source.empty())
    return bad_input(
        origin +
        ": tokenizer.chat_template: the model has no chat template; give one with --chat-template FILE, "
        "or continue a text with 'lissom run'");
  return parse(source, origin + ": tokenizer.chat_template");
}

std::string chat_variables(const GgufMetadata& metadata, const std::vector<ChatMessage>& messages,
                           bool add_generation_prompt) {
  Json list = Json::array();
  for (const ChatMessage& m : messages) list.push_back({{"role", m.role}, {"content", m.content}});
  Json variables = {{"messages", list}, {"add_generation_prompt", add_generation_prompt}};
  const auto* tokens = metadata.array<std::string>("tokenizer.ggml.tokens");
  for (const char* role : {"bos", "eos", "unknown", "padding"}) {
    const int64_t id = metadata.integer_or(std::string("tokenizer.ggml.") + role + "_token_id", -1);
    if (tokens == nullptr || id < 0 || id >= static_cast<int64_t>(tokens->size())) continue;
    const std::string name = std::string(role) == "unknown"   ? "unk"
                             : std::string(role) == "padding" ? "pad"
                                                              : role;
    variables[name + "_token"] = (*tokens)[static_cast<size_t>(id)];
  }
  return variables.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace lissom
