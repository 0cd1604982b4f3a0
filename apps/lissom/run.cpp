// `lissom run MODEL -p TEXT`: a text continued, as it is made; for encoders, the classification or the
// embedding.

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "command.h"
#include "console.h"
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
constexpr size_t kLongestPrompt = 16U << 20;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

struct Options {
  std::string model, revision, prompt, cache = "f16";
  int64_t predict = 128, context = 0;
  RuntimeOptions runtime;
  SamplingOptions sampling;
  bool json = false, quiet = false, ignore_eos = false, no_special = false, no_echo = false;
};

struct Generation {
  std::vector<int32_t> tokens;
  std::string text;
  const char* stop = "length";
  size_t prompt_tokens = 0;
  double load_seconds = 0, prompt_seconds = 0, generate_seconds = 0;
};

struct Loaded {
  Checkpoint checkpoint;
  std::unique_ptr<Tokenizer> tokenizer;
  std::shared_ptr<Model> model;
};

Result<Loaded> load(const Options& o, const Progress& progress) {
  Loaded l;
  LISSOM_TRY(l.checkpoint, open_checkpoint(o.model, {.revision = o.revision}, progress));
  end_progress();
  if (l.checkpoint.metadata == nullptr) return bad_input(o.model + ": no tokenizer");
  LISSOM_TRY(l.tokenizer, Tokenizer::from_gguf(*l.checkpoint.metadata, o.model));
  LISSOM_TRY(l.model, Model::load(l.checkpoint, o.runtime));
  return l;
}

Result<std::string> prompt_of(const Options& o) {
  if (o.prompt != "-") return o.prompt;
  std::string text;
  char part[1 << 16];
  for (size_t n = 0; (n = std::fread(part, 1, sizeof(part), stdin)) > 0;) {
    text.append(part, n);
    if (text.size() > kLongestPrompt) return bad_input("-p -: standard input is longer than 16 MiB");
  }
  return text;
}

void put(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

double per_second(size_t n, double seconds) {
  return seconds > 0 ? static_cast<double>(n) / seconds : 0.0;
}

class Generator {
 public:
  Generator(const Options& o, const Loaded& loaded) : o_(o), l_(loaded), sampler_(o.sampling) {}

  Result<Generation> run(const std::vector<int32_t>& prompt) {
    result_.prompt_tokens = prompt.size();
    const int64_t longest = static_cast<int64_t>(prompt.size()) + o_.predict;
    const int64_t limit = o_.context > 0 ? o_.context : std::max<int64_t>(l_.checkpoint.config.context, 1);
    LISSOM_TRY(session_, Session::create(l_.model, std::min(longest, limit)));
    for (const int32_t id : prompt) sampler_.accept(id);
    const auto begin = Clock::now();
    LISSOM_TRY(const std::span<const float> logits, read_prompt(*session_, prompt));
    result_.prompt_seconds = seconds_since(begin);
    const auto start = Clock::now();
    LISSOM_CHECK(continue_from(logits, std::min(longest, limit)));
    emit(stream_.finish());
    result_.generate_seconds = seconds_since(start);
    return std::move(result_);
  }

 private:
  Result<void> continue_from(std::span<const float> logits, int64_t limit) {
    while (static_cast<int64_t>(result_.tokens.size()) < o_.predict) {
      if (interrupted()) {
        result_.stop = "interrupted";
        return {};
      }
      const int32_t id = sampler_.sample(logits);
      if (id < 0) return bad_input(o_.model + ": the model's output is not finite");
      if (is_end(id)) {
        result_.stop = "eos";
        return {};
      }
      result_.tokens.push_back(id);
      sampler_.accept(id);
      if (!l_.tokenizer->is_special(id)) emit(stream_.push(l_.tokenizer->token_bytes(id)));
      if (static_cast<int64_t>(result_.tokens.size()) == o_.predict) return {};
      if (session_->length(0) >= limit) {
        result_.stop = "context";
        return {};
      }
      Batch batch;
      batch.tokens = {&id, 1};
      LISSOM_TRY(logits, session_->run(batch));
    }
    return {};
  }
  [[nodiscard]] bool is_end(int32_t id) const {
    const auto& eos = l_.checkpoint.config.eos;
    return !o_.ignore_eos && std::find(eos.begin(), eos.end(), id) != eos.end();
  }
  void emit(const std::string& text) {
    result_.text += text;
    if (!o_.json) put(text);
  }

  const Options& o_;
  const Loaded& l_;
  Sampler sampler_;
  Utf8Stream stream_;
  std::unique_ptr<Session> session_;
  Generation result_;
};

json json_of(const Options& o, const Generation& g, const std::string& prompt) {
  return {{"model", o.model},
          {"prompt", prompt},
          {"text", g.text},
          {"tokens", g.tokens},
          {"stop", g.stop},
          {"prompt_tokens", g.prompt_tokens},
          {"generated_tokens", g.tokens.size()},
          {"prompt_tokens_per_second", per_second(g.prompt_tokens, g.prompt_seconds)},
          {"generate_tokens_per_second", per_second(g.tokens.size(), g.generate_seconds)},
          {"load_seconds", g.load_seconds}};
}

std::string dump(const json& value) {
  return value.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

/// Labels with their probabilities, or the pooled embedding.
Result<json> encode(const Loaded& l, const Encoding& input) {
  LISSOM_TRY(const auto session, Session::create(l.model, static_cast<int64_t>(input.ids.size())));
  Batch batch;
  batch.tokens = input.ids;
  batch.token_types = input.type_ids;
  LISSOM_TRY(const std::span<const float> output, session->run(batch));
  const auto& labels = l.checkpoint.config.labels;
  if (labels.empty() || labels.size() != output.size()) {
    const auto pooled = session->pooled();
    if (pooled.empty()) return unsupported("this encoder has neither a classifier nor pooling");
    return json{{"embedding", std::vector<float>(pooled.begin(), pooled.end())}};
  }
  const float largest = *std::max_element(output.begin(), output.end());
  double total = 0;
  for (const float x : output) total += std::exp(double{x} - largest);
  json probabilities = json::object();
  for (size_t i = 0; i < labels.size(); ++i)
    probabilities[labels[i]] = std::exp(double{output[i]} - largest) / total;
  return json{{"labels", probabilities}};
}

Result<int> run(const Options& o) {
  const Progress progress = console_progress(o.quiet);
  const auto begin = Clock::now();
  LISSOM_TRY(const std::string prompt, prompt_of(o));
  LISSOM_TRY(const Loaded loaded, load(o, progress));
  const double load_seconds = seconds_since(begin);
  Encoding input = loaded.tokenizer->encode(prompt, !o.no_special);
  const Config& config = loaded.checkpoint.config;
  if (!config.causal) {
    LISSOM_TRY(const json result, encode(loaded, input));
    put(dump(result));
    return 0;
  }
  if (input.ids.empty()) {
    if (config.bos < 0 && config.eos.empty()) return bad_input("-p: the prompt has no tokens");
    input.ids.push_back(static_cast<int32_t>(config.bos >= 0 ? config.bos : config.eos[0]));
  }
  if (!o.json && !o.no_echo) put(prompt);
  LISSOM_TRY(Generation g, Generator(o, loaded).run(input.ids));
  g.load_seconds = load_seconds;
  if (o.json) {
    put(dump(json_of(o, g, prompt)));
  } else {
    put("\n");
    progress.say(
        LogLevel::info,
        fmt::format("{} prompt tokens at {:.1f}/s, {} generated at {:.1f}/s, loaded in {:.2f} s; stopped: {}",
                    g.prompt_tokens, per_second(g.prompt_tokens, g.prompt_seconds), g.tokens.size(),
                    per_second(g.tokens.size(), g.generate_seconds), g.load_seconds, g.stop));
  }
  return interrupted() ? 130 : 0;
}

}  // namespace

void add_run(CLI::App& app, int& exit_code) {
  Command verb(app, "run", "Continue a text; classify or embed it with an encoder");
  auto o = std::make_shared<Options>();
  verb.option("MODEL", o->model, "A folder, a .gguf, or org/name on the Hugging Face hub").required();
  verb.option("--revision", o->revision, kRevisionHelp);
  verb.option("--prompt,-p", o->prompt, "The text; - reads standard input").required();
  verb.option("--predict,-n", o->predict, "Tokens to generate at most").show_default().between(1, 1 << 24);
  verb.option("--ctx", o->context,
              "Positions of the cache; 0: what prompt and answer need, up to the model's own")
      .between(0, 1 << 24);
  add_sampling(verb, o->sampling);
  verb.option("--threads,-t", o->runtime.threads, "0: all physical cores").between(0, 1024);
  verb.option("--cache", o->cache, "Type of the KV cache").show_default().one_of({"f16", "q8_0"});
  verb.flag("--exact", o->runtime.exact, "F32 arithmetic on dequantized weights: slow, the yardstick");
  verb.flag("--ignore-eos", o->ignore_eos, "Do not stop at the end-of-text token");
  verb.flag("--no-special", o->no_special, "Do not add the tokenizer's special tokens to the prompt");
  verb.flag("--no-echo", o->no_echo, "Print the continuation without the prompt");
  verb.flag("--json", o->json, "Print one JSON object at the end");
  verb.flag("--quiet,-q", o->quiet, "No timing on standard error");
  verb.footer("Example:\n  lissom run model.gguf -p \"The capital of France is\" -n 32 --temperature 0");
  verb.action([o, &exit_code] {
    o->runtime.cache = o->cache == "q8_0" ? CacheType::q8_0 : CacheType::f16;
    const auto code = run(*o);
    exit_code = code ? *code : fail(code.error());
  });
}

}  // namespace lissom::cli
