// tokenizer.ggml.* for a Hugging Face folder, with the keys and values that llama.cpp's convert_hf_to_gguf.py
// writes.

#include <algorithm>
#include <filesystem>
#include <optional>

#include "base/file.h"
#include "base/text.h"
#include "format/json.h"
#include "lissom/tokenizer.h"
#include "tokenizer/gguf_tokenizer.h"

namespace lissom {
namespace {

using tok::AddedToken;
using tok::Parts;
namespace fs = std::filesystem;

constexpr uint64_t kJsonLimit = 64U << 20;
constexpr int64_t kMostRows = int64_t{1} << 24;

/// What the folder says beside tokenizer.json.
struct Folder {
  fs::path path;
  Json tokenizer_config = Json::object(), config = Json::object();

  [[nodiscard]] Result<void> read() {
    for (const auto& [name, slot] :
         {std::pair{"tokenizer_config.json", &tokenizer_config}, {"config.json", &config}}) {
      if (!fs::exists(path / name)) continue;
      LISSOM_TRY(*slot, read_json(path / name, kJsonLimit));
      if (!slot->is_object()) return bad_input((path / name).string() + ": expected an object");
    }
    return {};
  }
  /// The string of tokenizer_config's "bos_token", given as such or as {"content": …}.
  [[nodiscard]] std::string special(const std::string& role) const {
    const auto it = tokenizer_config.find(role + "_token");
    if (it == tokenizer_config.end()) return {};
    if (it->is_string()) return it->get<std::string>();
    if (it->is_object() && it->contains("content") && (*it)["content"].is_string())
      return (*it)["content"].get<std::string>();
    return {};
  }
  [[nodiscard]] Result<std::string> chat_template() const {
    for (const char* name : {"chat_template.jinja", "chat_template.json"}) {
      if (!fs::exists(path / name) || tokenizer_config.contains("chat_template")) continue;
      LISSOM_TRY(const std::string text, read_file(path / name, kJsonLimit));
      if (std::string_view(name).ends_with(".jinja")) return text;
      LISSOM_TRY(const Json json, parse_json(text, (path / name).string()));
      return json.is_object() ? text_of(json) : std::string();
    }
    return text_of(tokenizer_config);
  }

 private:
  /// A template is a string, or a list of {"name", "template"}, of which "default" counts.
  static std::string text_of(const Json& object) {
    const auto it = object.find("chat_template");
    if (it == object.end()) return {};
    if (it->is_string()) return it->get<std::string>();
    if (it->is_array())
      for (const Json& entry : *it)
        if (entry.is_object() && entry.value("name", Json()) == "default" &&
            entry.value("template", Json()).is_string())
          return entry["template"].get<std::string>();
    return {};
  }
};

bool looks_special(std::string_view token) {
  return token == "<pad>" || token == "<mask>" || token == "<2mass>" || token == "[@BOS@]" ||
         (token.starts_with("<|") && token.ends_with("|>")) ||
         (token.starts_with("<｜") && token.ends_with("｜>")) ||
         (token.starts_with("<unused") && token.ends_with(">"));
}

/// Stages in order, without what does not change ids.
Json canonical(const Json& pre) {
  Json out = Json::array();
  if (!pre.is_object()) return out;
  const std::string type = pre.value("type", "");
  if (type == "Sequence") {
    for (const Json& stage : pre.value("pretokenizers", Json::array())) {
      const Json stages = canonical(stage);
      out.insert(out.end(), stages.begin(), stages.end());
    }
    return out;
  }
  Json stage = pre;
  stage.erase("trim_offsets");
  stage.erase("add_prefix_space");  // told apart by tokenizer.ggml.add_space_prefix
  if (type == "Split" && pre.value("behavior", "") == "Removed" && pre.value("invert", false)) {
    stage["behavior"] = "Isolated";
    stage["invert"] = false;
  }
  if (type == "ByteLevel" && !stage.contains("use_regex")) stage["use_regex"] = true;
  out.push_back(std::move(stage));
  return out;
}

bool adds_prefix_space(const Json& pre) {
  if (!pre.is_object()) return false;
  if (pre.value("type", "") == "ByteLevel") return pre.value("add_prefix_space", true);
  for (const Json& stage : pre.value("pretokenizers", Json::array()))
    if (adds_prefix_space(stage)) return true;
  return false;
}

/// Whether merging alone finds every token of the model: then ignore_merges changes nothing.
bool merges_reach_all(const Parts& parts) {
  std::vector<bool> made(static_cast<size_t>(parts.vocab.end_id()), false);
  for (const auto& [left, right] : parts.merges) {
    std::string joined(*parts.vocab.token(left));
    joined += *parts.vocab.token(right);
    made[static_cast<size_t>(parts.vocab.find(joined))] = true;
  }
  for (const AddedToken& token : parts.added)
    if (token.id < parts.vocab.end_id()) made[static_cast<size_t>(token.id)] = true;
  for (int64_t id = 0; id < parts.vocab.end_id(); ++id) {
    const auto token = parts.vocab.token(id);
    if (token && !made[static_cast<size_t>(id)] && token->size() > 2)
      return false;  // longer than one character
  }
  return true;
}

Result<const tok::PreName*> find_pre(const Parts& parts, const std::string& origin) {
  const Json wanted = canonical(parts.pre_tokenizer);
  const bool ignore_merges = parts.model.value("ignore_merges", Json(false)) == true;
  const bool nfc = parts.normalizer.is_object() && parts.normalizer.value("type", "") == "NFC";
  const tok::PreName* best = nullptr;
  int best_score = -1;
  for (const tok::PreName& name : tok::pre_names()) {
    if (canonical(name.pre_tokenizer) != wanted) continue;
    const int score = (name.ignore_merges == ignore_merges ? 2 : 0) + (name.nfc == nfc ? 1 : 0);
    if (score > best_score) best = &name;
    best_score = std::max(best_score, score);
  }
  if (best == nullptr)
    return unsupported(origin +
                       ": pre_tokenizer: llama.cpp has no name for this one, so a GGUF cannot hold it");
  if (best->ignore_merges != ignore_merges && !merges_reach_all(parts))
    return unsupported(origin + ": model.ignore_merges: llama.cpp has no name for this pre-tokenizer with it " +
                       (ignore_merges ? "on" : "off"));
  return best;
}

}  // namespace

tok::TokenTable tok::token_table(const Parts& parts, int64_t rows, bool word_pieces) {
  enum { kNormal = 1, kControl = 3, kUserDefined = 4, kUnused = 5 };
  TokenTable table;
  table.tokens.resize(static_cast<size_t>(rows));
  table.types.assign(static_cast<size_t>(rows), kUnused);
  for (int64_t id = 0; id < std::min(rows, parts.vocab.end_id()); ++id) {
    const auto token = parts.vocab.token(id);
    if (!token) continue;
    table.tokens[static_cast<size_t>(id)] = *token;
    table.types[static_cast<size_t>(id)] = kNormal;
  }
  for (const AddedToken& added : parts.added) {
    if (added.content.empty()) continue;
    std::string text = added.content;
    const bool control = added.special || looks_special(text);
    for (size_t at = text.find("\u2581"); !control && at != std::string::npos; at = text.find("\u2581"))
      text.erase(at, 2), text[at] = ' ';
    table.tokens[static_cast<size_t>(added.id)] = text;
    table.types[static_cast<size_t>(added.id)] = control ? kControl : kUserDefined;
  }
  for (size_t i = 0; i < table.tokens.size(); ++i) {
    std::string& token = table.tokens[i];
    if (table.types[i] == kUnused) {
      token = std::string("[PAD").append(std::to_string(i)).append("]");
      while (parts.vocab.find(token) != tok::Vocab::kAbsent) token += '_';  // llama.cpp aborts on equal tokens
    }
    if (word_pieces && table.types[i] != kControl) {
      if (token.starts_with("##")) {
        token.erase(0, 2);
      } else {
        token = std::string("\u2581").append(token);
      }
    }
  }
  return table;
}

namespace {

std::vector<std::string> merge_strings(const Parts& parts) {
  std::vector<std::string> merges;
  merges.reserve(parts.merges.size());
  const auto printable = [](std::string_view token) {  // a space would be taken for the one between the tokens
    std::string out;
    for (const char c : token) c == ' ' ? out += "\u0120" : out += c;
    return out;
  };
  for (const auto& [left, right] : parts.merges)
    merges.push_back(printable(*parts.vocab.token(left)) + " " + printable(*parts.vocab.token(right)));
  return merges;
}

// ---------------------------------------------------------------- special tokens

/// A special token's id: by tokenizer_config's string, else by config.json's number.
std::optional<int32_t> special_id(const Folder& folder, const Tokenizer& tokenizer, const std::string& role,
                                  const std::string& instead) {
  std::string token = folder.special(role);
  if (token.empty() && !instead.empty()) token = folder.special(instead);
  if (!token.empty())
    if (const auto id = tokenizer.token_to_id(token)) return id;
  auto it = folder.config.find(role + "_token_id");
  if (it == folder.config.end()) return std::nullopt;
  const Json& number = it->is_array() && !it->empty() ? (*it)[0] : *it;
  if (!number.is_number_integer() || number < 0 || number >= tokenizer.vocab_size()) return std::nullopt;
  return number.get<int32_t>();
}

/// What encoding a text puts before and after it.
struct Surround {
  std::vector<int32_t> before, after;
};
Surround surround_of(const Tokenizer& tokenizer) {
  const std::vector<int32_t> bare = tokenizer.encode("a", false).ids, full = tokenizer.encode("a", true).ids;
  const auto at = std::search(full.begin(), full.end(), bare.begin(), bare.end());
  if (at == full.end()) return {};
  return {{full.begin(), at}, {at + static_cast<std::ptrdiff_t>(bare.size()), full.end()}};
}

Result<void> add_special_tokens(const Folder& folder, const Tokenizer& tokenizer, const std::string& origin,
                                bool bert, GgufMetadata& out) {
  const Surround surround = surround_of(tokenizer);
  if (surround.before.size() > 1 || surround.after.size() > 1)
    return unsupported(origin + ": post_processor: a GGUF can hold one token before a text and one after it");
  auto bos = special_id(folder, tokenizer, "bos", "cls"), eos = special_id(folder, tokenizer, "eos", "sep");
  const auto sep = special_id(folder, tokenizer, "sep", "");
  // llama.cpp puts its BOS and EOS there, whatever tokenizer_config calls them.
  if (!surround.before.empty()) bos = surround.before[0];
  if (!surround.after.empty() && (!bert || surround.after[0] != sep)) eos = surround.after[0];
  const std::pair<const char*, std::optional<int32_t>> ids[] = {
      {"bos", bos},
      {"eos", eos},
      {"unknown", special_id(folder, tokenizer, "unk", "")},
      {"seperator", sep},  // spelled as gguf-py and llama.cpp spell it
      {"padding", special_id(folder, tokenizer, "pad", "")},
      {"mask", special_id(folder, tokenizer, "mask", "")}};
  for (const auto& [role, id] : ids)
    if (id) out.set(std::string("tokenizer.ggml.") + role + "_token_id", static_cast<uint32_t>(*id));
  out.set("tokenizer.ggml.add_bos_token", !surround.before.empty());
  out.set("tokenizer.ggml.add_eos_token", !surround.after.empty());
  if (bert) out.set("tokenizer.ggml.add_sep_token", false);  // it is added as EOS
  return {};
}

Result<void> add_bpe(const Parts& parts, const std::string& origin, int64_t rows, GgufMetadata& out) {
  const std::string normalizer = parts.normalizer.is_object() ? parts.normalizer.value("type", "") : "";
  const bool none = parts.normalizer.is_null() ||
                    (normalizer == "Sequence" && parts.normalizer.value("normalizers", Json::array()).empty());
  if (!none && normalizer != "NFC")
    return unsupported(origin + ": normalizer: a GGUF with byte-level BPE cannot hold " +
                       in_quotes(normalizer));
  LISSOM_TRY(const tok::PreName* pre, find_pre(parts, origin));
  out.set("tokenizer.ggml.model", std::string("gpt2"));
  out.set("tokenizer.ggml.pre", pre->name);
  tok::TokenTable table = tok::token_table(parts, rows, false);
  out.set_array("tokenizer.ggml.tokens", std::move(table.tokens));
  out.set_array("tokenizer.ggml.token_type", std::move(table.types));
  out.set_array("tokenizer.ggml.merges", merge_strings(parts));
  if (pre->nfc != (normalizer == "NFC")) out.set("lissom.tokenizer.nfc", normalizer == "NFC");
  if (adds_prefix_space(parts.pre_tokenizer)) out.set("tokenizer.ggml.add_space_prefix", true);
  return {};
}

Result<void> add_wordpiece(const Parts& parts, const Folder& folder, const std::string& origin, int64_t rows,
                           GgufMetadata& out) {
  if (!parts.normalizer.is_object() || parts.normalizer.value("type", "") != "BertNormalizer" ||
      !parts.pre_tokenizer.is_object() || parts.pre_tokenizer.value("type", "") != "BertPreTokenizer" ||
      parts.model.value("continuing_subword_prefix", "##") != "##")
    return unsupported(origin +
                       ": a GGUF can hold WordPiece with BertNormalizer, BertPreTokenizer and ## only");
  if (const auto types = folder.config.find("type_vocab_size");
      types != folder.config.end() && types->is_number_unsigned() && *types < 65536)
    out.set("tokenizer.ggml.token_type_count", types->get<uint32_t>());
  out.set("tokenizer.ggml.model", std::string("bert"));
  out.set("tokenizer.ggml.pre", std::string("jina-v2-en"));  // llama.cpp has no split patterns for WordPiece
  tok::TokenTable table = tok::token_table(parts, rows, true);
  out.set_array("tokenizer.ggml.tokens", std::move(table.tokens));
  out.set_array("tokenizer.ggml.token_type", std::move(table.types));
  const Json lowercase = parts.normalizer.value("lowercase", Json(true));
  const Json accents = parts.normalizer.value("strip_accents", Json());
  out.set("tokenizer.ggml.normalizer.lowercase", lowercase == true);
  if (accents.is_boolean()) out.set("tokenizer.ggml.normalizer.strip_accents", accents.get<bool>());
  return {};
}

/// The unknown token is that of the model, whatever the folder calls it; a GGUF's type says so too.
void name_unknown(const Parts& parts, GgufMetadata& out) {
  int64_t id = -1;
  if (parts.model.contains("unk_id") && parts.model["unk_id"].is_number_integer()) id = parts.model["unk_id"];
  if (parts.model.contains("unk_token") && parts.model["unk_token"].is_string())
    id = parts.vocab.find(parts.model["unk_token"].get<std::string>());
  if (id >= 0) out.set("tokenizer.ggml.unknown_token_id", static_cast<uint32_t>(id));
}

/// A folder with a tokenizer.model and no tokenizer.json. BOS and EOS come as transformers' slow tokenizers add
/// them: Llama and its kin begin with BOS, T5 ends with EOS.
Result<GgufMetadata> sentencepiece_vocabulary(const fs::path& folder_path, int64_t vocab) {
  const fs::path file = folder_path / "tokenizer.model";
  if (!fs::exists(file))
    return bad_input((folder_path / "tokenizer.json").string() +
                     ": no such file: a folder needs its tokenizer.json or tokenizer.model");
  LISSOM_TRY(const std::string bytes, read_file(file, kJsonLimit));
  Folder folder{folder_path};
  LISSOM_CHECK(folder.read());
  GgufMetadata out;
  LISSOM_CHECK(tok::add_gguf_sentencepiece(bytes, file.string(), vocab, out));
  const Json& config = folder.tokenizer_config;
  const auto flag = [&](const char* name, bool fallback) {
    const auto it = config.find(name);
    return it != config.end() && it->is_boolean() ? it->get<bool>() : fallback;
  };
  const bool llama = out.string_or("tokenizer.ggml.model", "") == "llama";
  out.set("tokenizer.ggml.add_bos_token",
          flag("add_bos_token", llama) && out.integer_or("tokenizer.ggml.bos_token_id", -1) >= 0);
  out.set("tokenizer.ggml.add_eos_token",
          flag("add_eos_token", !llama) && out.integer_or("tokenizer.ggml.eos_token_id", -1) >= 0);
  LISSOM_TRY(const std::string chat, folder.chat_template());
  if (!chat.empty()) out.set("tokenizer.chat_template", chat);
  return out;
}

}  // namespace

Result<GgufMetadata> gguf_vocabulary(const fs::path& folder_path, int64_t vocab) {
  const fs::path file = folder_path / "tokenizer.json";
  if (vocab <= 0 || vocab > kMostRows)
    return bad_input(folder_path.string() + ": an embedding of " + std::to_string(vocab) + " rows");
  if (!fs::exists(file)) return sentencepiece_vocabulary(folder_path, vocab);
  LISSOM_TRY(const std::string text, read_file(file, kJsonLimit));
  LISSOM_TRY(const std::unique_ptr<Tokenizer> tokenizer, Tokenizer::from_json(text, file.string()));
  LISSOM_TRY(const Parts parts, tok::parts_from_json(text, file.string()));
  if (tokenizer->vocab_size() > vocab)
    return bad_input(file.string() + ": holds the token id " + std::to_string(tokenizer->vocab_size() - 1) +
                     ", but the model's embedding has " + std::to_string(vocab) + " rows");
  Folder folder{folder_path};
  LISSOM_CHECK(folder.read());
  GgufMetadata out;
  const bool bert = parts.model.value("type", Json("BPE")) == "WordPiece";
  const bool pieces = !parts.scores.empty() || tok::is_piece_bpe(parts);
  if (pieces) {
    LISSOM_CHECK(tok::add_gguf_pieces(parts, file.string(), vocab, out));
  } else if (bert) {
    LISSOM_CHECK(add_wordpiece(parts, folder, file.string(), vocab, out));
  } else {
    LISSOM_CHECK(add_bpe(parts, file.string(), vocab, out));
  }
  LISSOM_CHECK(add_special_tokens(folder, *tokenizer, file.string(), bert, out));
  if (pieces) name_unknown(parts, out);
  LISSOM_TRY(const std::string chat, folder.chat_template());
  if (!chat.empty()) out.set("tokenizer.chat_template", chat);
  return out;
}

}  // namespace lissom
