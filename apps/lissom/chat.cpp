// `lissom chat MODEL`: a conversation. What the model has read stays in the cache from turn to turn.

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <vector>

#include "base/file.h"
#include "command.h"
#include "console.h"
#include "lissom/chat.h"
#include "lissom/gguf.h"
#include "lissom/runtime.h"
#include "lissom/tokenizer.h"
#include "runtime/utf8_stream.h"
#include "sampling_flags.h"
#include "verbs.h"

namespace lissom::cli {
namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;
constexpr size_t kLongestLine = 1U << 20;
constexpr uint64_t kTemplateLimit = 4U << 20;
constexpr int64_t kAtOnce = 512, kUsualContext = 4096;

struct Options {
  std::string model, revision, system, template_file, cache = "f16";
  int64_t predict = 512, context = 0;
  RuntimeOptions runtime;
  SamplingOptions sampling;
  bool json = false, quiet = false;
};

struct Answer {
  std::string text;
  const char* stop = "length";
  size_t prompt_tokens = 0, reused_tokens = 0, generated_tokens = 0;
  double prompt_seconds = 0, generate_seconds = 0;
};

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

void put(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

/// One line of standard input without its end; false at the end of the input.
Result<bool> read_line(std::string& line) {
  line.clear();
  for (int c = std::getchar(); c != EOF; c = std::getchar()) {
    if (c == '\n') return true;
    line += static_cast<char>(c);
    if (line.size() > kLongestLine) return bad_input("standard input: a line longer than 1 MiB");
  }
  return !line.empty();
}

class Conversation {
 public:
  Conversation(const Options& o) : o_(o), sampler_(o.sampling) {}

  Result<void> open(const Progress& progress) {
    LISSOM_TRY(checkpoint_, open_checkpoint(o_.model, {.revision = o_.revision}, progress));
    if (checkpoint_.metadata == nullptr) return bad_input(o_.model + ": no tokenizer");
    if (!checkpoint_.config.causal)
      return unsupported(o_.model + ": an encoder does not converse: use 'lissom run'");
    if (o_.template_file.empty()) {
      LISSOM_TRY(template_, ChatTemplate::from_gguf(*checkpoint_.metadata, o_.model));
    } else {
      LISSOM_TRY(const std::string source, read_file(o_.template_file, kTemplateLimit));
      LISSOM_TRY(template_, ChatTemplate::parse(source, o_.template_file));
    }
    LISSOM_TRY(tokenizer_, Tokenizer::from_gguf(*checkpoint_.metadata, o_.model));
    LISSOM_TRY(model_, Model::load(checkpoint_, o_.runtime));
    const int64_t most = std::max<int64_t>(checkpoint_.config.context, 1);
    context_ = o_.context > 0 ? o_.context : std::min(most, kUsualContext);
    LISSOM_TRY(session_, Session::create(model_, context_));
    find_ends();
    if (!o_.system.empty()) messages_.push_back({"system", o_.system});
    return {};
  }

  Result<Answer> say(const std::string& line) {
    messages_.push_back({"user", line});
    LISSOM_TRY(const std::string text,
               template_->render(chat_variables(*checkpoint_.metadata, messages_, true)));
    const std::vector<int32_t> prompt = tokenizer_->encode(text, false).ids;
    if (prompt.empty()) return bad_input("the chat template gives no tokens");
    if (static_cast<int64_t>(prompt.size()) >= context_)
      return bad_input("the conversation is longer than the context of " + std::to_string(context_) +
                       " tokens: begin a new one, or give --ctx");
    Answer answer;
    LISSOM_TRY(const std::span<const float> logits, read(prompt, answer));
    LISSOM_CHECK(generate(logits, answer));
    messages_.push_back({"assistant", answer.text});
    return answer;
  }

 private:
  /// Tokens that end a turn: those of the model's configuration, and the special tokens known to do so.
  void find_ends() {
    const auto& eos = checkpoint_.config.eos;
    ends_.assign(eos.begin(), eos.end());
    for (const char* key :
         {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"})
      if (const int64_t id = checkpoint_.metadata->integer_or(key, -1); id >= 0) ends_.push_back(id);
    for (const char* name :
         {"<|im_end|>", "<|eot_id|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>",
          "<|end_of_turn|>", "<|END_OF_TURN_TOKEN|>", "<|return|>", "<|eom_id|>"})
      if (const auto id = tokenizer_->token_to_id(name); id && tokenizer_->is_special(*id))
        ends_.push_back(*id);
  }
  [[nodiscard]] bool is_end(int32_t id) const {
    return std::find(ends_.begin(), ends_.end(), id) != ends_.end();
  }

  /// Reads what the cache does not hold yet; steps back where the template wrote earlier turns anew.
  Result<std::span<const float>> read(const std::vector<int32_t>& prompt, Answer& answer) {
    const auto begin = Clock::now();
    size_t same = 0;
    while (same < cached_.size() && same + 1 < prompt.size() && cached_[same] == prompt[same]) ++same;
    cached_ = prompt;
    for (const int32_t id : prompt) sampler_.accept(id);
    answer.prompt_tokens = prompt.size();
    answer.reused_tokens = same;
    std::span<const float> logits;
    for (size_t at = same; at < prompt.size();) {
      const size_t n = std::min<size_t>(prompt.size() - at, kAtOnce);
      std::vector<int32_t> positions(n);
      std::iota(positions.begin(), positions.end(), static_cast<int32_t>(at));
      std::vector<uint8_t> wanted(n, 0);
      wanted.back() = 1;
      Batch batch;
      batch.tokens = std::span(prompt).subspan(at, n);
      batch.positions = positions;
      batch.wanted = wanted;
      LISSOM_TRY(logits, session_->run(batch));
      at += n;
    }
    answer.prompt_seconds = seconds_since(begin);
    return logits;
  }

  Result<void> generate(std::span<const float> logits, Answer& answer) {
    const auto begin = Clock::now();
    Utf8Stream stream;
    const auto emit = [&](const std::string& text) {
      answer.text += text;
      if (!o_.json) put(text);
    };
    while (static_cast<int64_t>(answer.generated_tokens) < o_.predict) {
      if (interrupted()) {
        answer.stop = "interrupted";
        break;
      }
      const int32_t id = sampler_.sample(logits);
      if (id < 0) return bad_input(o_.model + ": the model's output is not finite");
      if (is_end(id)) {
        answer.stop = "eos";
        break;
      }
      ++answer.generated_tokens;
      sampler_.accept(id);
      if (!tokenizer_->is_special(id)) emit(stream.push(tokenizer_->token_bytes(id)));
      if (session_->length(0) >= context_) {
        answer.stop = "context";
        break;
      }
      Batch batch;
      batch.tokens = {&id, 1};
      LISSOM_TRY(logits, session_->run(batch));
      cached_.push_back(id);
    }
    emit(stream.finish());
    answer.generate_seconds = seconds_since(begin);
    return {};
  }

  const Options& o_;
  Sampler sampler_;
  Checkpoint checkpoint_;
  std::unique_ptr<ChatTemplate> template_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::shared_ptr<Model> model_;
  std::unique_ptr<Session> session_;
  std::vector<ChatMessage> messages_;
  std::vector<int32_t> cached_;  ///< what the session's cache holds
  std::vector<int64_t> ends_;
  int64_t context_ = 0;
};

double per_second(size_t n, double seconds) {
  return seconds > 0 ? static_cast<double>(n) / seconds : 0.0;
}

std::string json_line(const Answer& a) {
  const json line = {
      {"role", "assistant"},
      {"content", a.text},
      {"stop", a.stop},
      {"prompt_tokens", a.prompt_tokens},
      {"reused_tokens", a.reused_tokens},
      {"generated_tokens", a.generated_tokens},
      {"prompt_tokens_per_second", per_second(a.prompt_tokens - a.reused_tokens, a.prompt_seconds)},
      {"generate_tokens_per_second", per_second(a.generated_tokens, a.generate_seconds)}};
  return line.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

Result<int> run(const Options& o) {
  const Progress progress = console_progress(o.quiet);
  Conversation conversation(o);
  LISSOM_CHECK(conversation.open(progress));
  const bool asks = !o.json && !o.quiet && isatty(STDIN_FILENO) != 0;
  for (std::string line; !interrupted();) {
    if (asks) std::fputs("> ", stderr);
    LISSOM_TRY(const bool more, read_line(line));
    if (!more) break;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    LISSOM_TRY(const Answer answer, conversation.say(line));
    put(o.json ? json_line(answer) : "\n");
    if (!o.json)
      progress.say(LogLevel::info,
                   fmt::format("{} tokens read, {} of them kept; {} generated at {:.1f}/s; stopped: {}",
                               answer.prompt_tokens, answer.reused_tokens, answer.generated_tokens,
                               per_second(answer.generated_tokens, answer.generate_seconds), answer.stop));
  }
  return interrupted() ? 130 : 0;
}

}  // namespace

void add_chat(CLI::App& app, int& exit_code) {
  Command verb(app, "chat", "Hold a conversation: each line of standard input is a turn");
  auto o = std::make_shared<Options>();
  verb.option("MODEL", o->model, "A folder, a .gguf file or a hub id (org/name)").required();
  verb.option("--revision", o->revision, kRevisionHelp);
  verb.option("--system", o->system, "The system message");
  verb.option("--chat-template", o->template_file,
              "A file with the chat template, in place of the model's own");
  verb.option("--predict,-n", o->predict, "Tokens of an answer at most").show_default().between(1, 1 << 24);
  verb.option("--ctx", o->context, "Tokens of the conversation; 0: the model's own, up to 4096")
      .between(0, 1 << 24);
  add_sampling(verb, o->sampling);
  verb.option("--threads,-t", o->runtime.threads, "0: all physical cores").between(0, 1024);
  verb.option("--cache", o->cache, "Type of the KV cache").show_default().one_of({"f16", "q8_0"});
  verb.flag("--exact", o->runtime.exact, "F32 arithmetic on dequantized weights: slow, the yardstick");
  verb.flag("--json", o->json, "One JSON object for each answer, on a line of its own");
  verb.flag("--quiet,-q", o->quiet, "Neither prompt nor timing on standard error");
  verb.footer("Example:\n  lissom chat model.gguf --system \"You are terse.\"");
  verb.action([o, &exit_code] {
    o->runtime.cache = o->cache == "q8_0" ? CacheType::q8_0 : CacheType::f16;
    const auto code = run(*o);
    exit_code = code ? *code : fail(code.error());
  });
}

}  // namespace lissom::cli
