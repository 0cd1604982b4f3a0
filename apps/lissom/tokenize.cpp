// `lissom tokenize MODEL`: text to token ids and back.

#include <fmt/core.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>

#include "base/file.h"
#include "command.h"
#include "console.h"
#include "format/json.h"
#include "format/pack.h"
#include "hub/hub.h"
#include "lissom/chat.h"
#include "lissom/gguf.h"
#include "lissom/tokenizer.h"
#include "verbs.h"

namespace lissom::cli {
namespace {

constexpr uint64_t kTokenizerLimit = 64U << 20;

struct Options {
  std::string model, revision, text, chat;
  bool decode = false, no_special = false, json = false, lines = false, json_lines = false, type_ids = false,
       batch = false;
};

Result<std::unique_ptr<Tokenizer>> open_tokenizer(const std::string& model, const std::string& revision) {
  std::filesystem::path file = model;
  const bool given = std::filesystem::is_regular_file(file) &&
                     (file.extension() == ".json" || file.filename() == "tokenizer.model");
  if (!given) {
    const hub::FindOptions options{.revision = revision, .need = hub::Need::tokenizer};
    LISSOM_TRY(const ModelPath path, hub::find_model(model, options, console_progress(false)));
    end_progress();
    if (path.kind == ModelKind::gguf) {
      LISSOM_TRY(const std::shared_ptr<GgufFile> gguf, GgufFile::open(path.path));
      return Tokenizer::from_gguf(gguf->metadata(), path.path.string());
    }
    if (path.kind == ModelKind::pack) {
      LISSOM_TRY(const std::shared_ptr<PackFile> pack, PackFile::open(path.path));
      return Tokenizer::from_gguf(pack->metadata(), path.path.string());
    }
    file = path.path / "tokenizer.json";
    if (!std::filesystem::exists(file) && std::filesystem::exists(path.path / "tokenizer.model"))
      file = path.path / "tokenizer.model";
  }
  LISSOM_TRY(const std::string text, read_file(file, kTokenizerLimit));
  if (file.extension() == ".model") return Tokenizer::from_sentencepiece(text, file.string());
  return Tokenizer::from_json(text, file.string());
}

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

/// Integers of a text: "[1, 2]" and "1 2" alike.
Result<std::vector<int32_t>> parse_ids(std::string_view text, const std::string& where) {
  std::vector<int32_t> ids;
  for (size_t i = 0; i < text.size();) {
    if (std::string_view(" \t\r\n,[]").find(text[i]) != std::string_view::npos) {
      ++i;
      continue;
    }
    int64_t id = 0;
    const size_t first = i;
    while (i < text.size() && text[i] >= '0' && text[i] <= '9' && id <= INT32_MAX)
      id = id * 10 + (text[i++] - '0');
    if (i == first || id > INT32_MAX)
      return bad_input(where + ": expected token ids, got '" + std::string(text.substr(first, 20)) + "'");
    ids.push_back(static_cast<int32_t>(id));
  }
  return ids;
}

std::string one_text(const Tokenizer& tokenizer, const Options& o, std::string_view text,
                     std::optional<std::string_view> pair = {}) {
  const Encoding encoding = tokenizer.encode(text, !o.no_special, pair);
  if (o.json && !o.json_lines) {
    Json tokens = Json::array();
    for (const int32_t id : encoding.ids) tokens.push_back(tokenizer.id_to_token(id).value_or(""));
    return dump({{"ids", encoding.ids}, {"tokens", tokens}, {"type_ids", encoding.type_ids}});
  }
  if (o.type_ids) return dump({{"ids", encoding.ids}, {"type_ids", encoding.type_ids}});
  std::string out = o.json_lines ? "[" : "";
  const char* const separator = o.json_lines ? "," : " ";
  for (size_t i = 0; i < encoding.ids.size(); ++i)
    out += (i == 0 ? "" : separator) + std::to_string(encoding.ids[i]);
  return out + (o.json_lines ? "]" : "");
}

/// One input, or one line of it.
Result<std::string> one_input(const Tokenizer& tokenizer, const Options& o, std::string_view input,
                              const std::string& where) {
  if (o.decode) {
    LISSOM_TRY(const std::vector<int32_t> ids, parse_ids(input, where));
    const std::string text = tokenizer.decode(ids, o.no_special);
    if (o.json_lines) return dump(Json(text));
    return o.json ? dump({{"text", text}}) : text;
  }
  if (!o.json_lines) return one_text(tokenizer, o, input);
  LISSOM_TRY(const Json json, parse_json(input, where));
  if (json.is_string()) return one_text(tokenizer, o, json.get_ref<const std::string&>());
  if (json.is_array() && json.size() == 2 && json[0].is_string() && json[1].is_string())
    return one_text(tokenizer, o, json[0].get_ref<const std::string&>(), json[1].get_ref<const std::string&>());
  return bad_input(where + ": expected a JSON string, or an array of two");
}

/// The model's keys, without its weights.
Result<GgufMetadata> metadata_of(const Options& o, const Tokenizer& tokenizer) {
  const hub::FindOptions options{.revision = o.revision, .need = hub::Need::tokenizer};
  LISSOM_TRY(const ModelPath path, hub::find_model(o.model, options, console_progress(false)));
  end_progress();
  if (path.kind == ModelKind::pack) {
    LISSOM_TRY(const std::shared_ptr<PackFile> pack, PackFile::open(path.path));
    return pack->metadata();
  }
  if (path.kind != ModelKind::gguf) return gguf_vocabulary(path.path, tokenizer.vocab_size());
  LISSOM_TRY(const std::shared_ptr<GgufFile> gguf, GgufFile::open(path.path));
  return gguf->metadata();
}

/// A file of messages through the model's chat template.
Result<std::string> chat_text(const Tokenizer& tokenizer, const Options& o) {
  LISSOM_TRY(const GgufMetadata metadata, metadata_of(o, tokenizer));
  LISSOM_TRY(const auto chat, ChatTemplate::from_gguf(metadata, o.model));
  LISSOM_TRY(std::string given, read_file(o.chat, kTokenizerLimit));
  const size_t first = given.find_first_not_of(" \t\r\n");
  // Variables as text: the order of the keys is the template's business.
  if (first != std::string::npos && given[first] == '[') given = "{\"messages\":" + given + "}";
  LISSOM_TRY(const Json variables, parse_json(given, o.chat));
  if (!variables.is_object() || !variables.contains("messages"))
    return bad_input(o.chat + ": expected an array of messages, or an object with \"messages\"");
  std::string defaults = chat_variables(metadata, {}, true);
  const size_t end = given.rfind('}');
  LISSOM_TRY(const Json own, parse_json(defaults, "defaults"));
  std::string more;
  for (const auto& [name, value] : own.items())
    if (!variables.contains(name)) more += "," + dump(Json(name)) + ":" + dump(value);
  return chat->render(given.substr(0, end) + more + given.substr(end));
}

std::string read_standard_input() {
  std::string all;
  char buffer[1 << 16];
  for (size_t n = 0; (n = std::fread(buffer, 1, sizeof buffer, stdin)) > 0;) all.append(buffer, n);
  return all;
}

/// All lines of the input as one batch, truncated and padded as tokenizer.json says.
Result<void> run_batch(const Tokenizer& tokenizer, const Options& o, std::string_view input) {
  std::vector<Json> values;
  for (size_t begin = 0; begin < input.size();) {
    const size_t end = std::min(input.find('\n', begin), input.size());
    const std::string where = "line " + std::to_string(values.size() + 1);
    LISSOM_TRY(Json value, parse_json(input.substr(begin, end - begin), where));
    const bool pair = value.is_array() && value.size() == 2 && value[0].is_string() && value[1].is_string();
    if (!value.is_string() && !pair) return bad_input(where + ": expected a JSON string, or an array of two");
    values.push_back(std::move(value));
    begin = end + 1;
  }
  std::vector<TextPair> batch;
  for (const Json& value : values) {
    if (value.is_string()) {
      batch.push_back({value.get_ref<const std::string&>(), {}});
    } else {
      batch.push_back({value[0].get_ref<const std::string&>(), value[1].get_ref<const std::string&>()});
    }
  }
  LISSOM_TRY(const std::vector<PaddedEncoding> all, tokenizer.encode_batch(batch, !o.no_special));
  for (const PaddedEncoding& e : all)
    std::printf("%s\n",
                dump({{"ids", e.ids}, {"type_ids", e.type_ids}, {"attention_mask", e.attention}}).c_str());
  return {};
}

Result<void> run(const Options& o, bool has_text) {
  LISSOM_TRY(const std::unique_ptr<Tokenizer> tokenizer, open_tokenizer(o.model, o.revision));
  if (!o.chat.empty()) {
    LISSOM_TRY(const std::string text, chat_text(*tokenizer, o));
    const Encoding encoding = tokenizer->encode(text, false);
    std::string line = dump({{"text", text}, {"ids", encoding.ids}});
    if (!o.json) {
      line.clear();
      for (const int32_t id : encoding.ids) line += (line.empty() ? "" : " ") + std::to_string(id);
    }
    std::printf("%s\n", line.c_str());
    return {};
  }
  const std::string input = has_text ? o.text : read_standard_input();
  if (o.batch) return run_batch(*tokenizer, o, input);
  const auto print = [](const std::string& line) {
    std::fwrite(line.data(), 1, line.size(), stdout);
    std::fputc('\n', stdout);
  };
  if (!o.lines && !o.json_lines) {
    LISSOM_TRY(const std::string line, one_input(*tokenizer, o, input, "input"));
    print(line);
    return {};
  }
  size_t number = 0;
  for (size_t begin = 0; begin < input.size();) {
    size_t end = input.find('\n', begin);
    if (end == std::string::npos) end = input.size();
    const std::string_view line = std::string_view(input).substr(begin, end - begin);
    LISSOM_TRY(const std::string out, one_input(*tokenizer, o, line, "line " + std::to_string(++number)));
    print(out);
    begin = end + 1;
  }
  return {};
}

}  // namespace

void add_tokenize(CLI::App& app, int& exit_code) {
  Command verb(app, "tokenize", "Text to token ids and back");
  verb.footer(
      "Examples:\n"
      "  lissom tokenize model.gguf 'Hello world'\n"
      "  lissom tokenize ./model 'Hello world' --json\n"
      "  echo '19556 905' | lissom tokenize model.gguf --decode\n"
      "  lissom tokenize ./model --lines < text.txt\n"
      "  lissom tokenize model.gguf --chat messages.json --json");
  auto options = std::make_shared<Options>();
  verb.option("MODEL", options->model,
              "Folder, tokenizer.json, tokenizer.model, .gguf, or org/name on the Hugging Face hub")
      .required();
  verb.option("--revision", options->revision, kRevisionHelp);
  const Option text =
      verb.option("TEXT", options->text, "The text, or ids with --decode; standard input if left out");
  verb.option("--chat", options->chat,
              "A JSON file of messages, or of variables with messages, put through the model's chat template");
  verb.flag("--decode", options->decode, "Ids to text");
  verb.flag("--no-special", options->no_special, "Encode: add no special tokens. Decode: leave them out");
  verb.flag("--json", options->json, "One JSON object: ids, tokens, type_ids; or text");
  verb.flag("--lines", options->lines, "Each line of the input by itself");
  verb.flag(
      "--json-lines", options->json_lines,
      "Each line is a JSON string, an array of two (a pair), or with --decode an array of ids; so are the "
      "lines printed");
  verb.flag("--type-ids", options->type_ids, "With --json-lines: objects of ids and type_ids");
  verb.flag("--batch", options->batch,
            "The lines, read as with --json-lines, are one batch: truncated and padded as tokenizer.json says");
  verb.action([options, text, &exit_code] {
    const auto done = run(*options, text.given());
    exit_code = done ? 0 : fail(done.error());
  });
}

}  // namespace lissom::cli
