#include <algorithm>
#include <map>

#include "base/text.h"
#include "lissom/tokenizer.h"
#include "tokenizer/gguf_tokenizer.h"
#include "tokenizer/unicode.h"

namespace lissom::tok {
namespace {

constexpr std::string_view kSpaceMark = "\u2581";

/// Values of tokenizer.ggml.token_type.
enum TokenType { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

struct Source {
  const GgufMetadata& metadata;
  std::string origin;
  const std::vector<std::string>* tokens = nullptr;
  const std::vector<int32_t>* types = nullptr;  ///< null: all normal

  [[nodiscard]] std::string at(std::string_view key) const {
    return origin + ": tokenizer.ggml." + std::string(key);
  }
  [[nodiscard]] int type(size_t i) const { return types == nullptr ? kNormal : (*types)[i]; }
  /// A token's id from `key`, or `fallback`; absent or out of range: -1.
  [[nodiscard]] int64_t id(std::string_view key, int64_t fallback) const {
    const int64_t value = metadata.integer_or("tokenizer.ggml." + std::string(key), fallback);
    return value >= 0 && value < static_cast<int64_t>(tokens->size()) ? value : -1;
  }
  [[nodiscard]] bool flag(std::string_view key, bool fallback) const {
    return metadata.boolean_or("tokenizer.ggml." + std::string(key), fallback);
  }
};

/// A template around A, and around A and B, with the tokens before and after each.
Json make_template(const std::vector<std::string>& before, const std::vector<std::string>& after,
                   const std::vector<std::string>& between, const Vocab& vocab) {
  Json specials = Json::object();
  const auto special = [&](const std::string& token, int type) -> Json {
    specials[token] = {{"id", token}, {"ids", {vocab.find(token)}}, {"tokens", {token}}};
    return {{"SpecialToken", {{"id", token}, {"type_id", type}}}};
  };
  const auto sequence = [](const char* id, int type) -> Json {
    return {{"Sequence", {{"id", id}, {"type_id", type}}}};
  };
  Json single = Json::array();
  for (const std::string& t : before) single.push_back(special(t, 0));
  single.push_back(sequence("A", 0));
  for (const std::string& t : after) single.push_back(special(t, 0));
  Json pair = single;
  for (const std::string& t : between) pair.push_back(special(t, 1));
  pair.push_back(sequence("B", 1));
  for (const std::string& t : after) pair.push_back(special(t, 1));
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", specials}};
}

Result<void> add_tokens(const Source& source, Parts& parts, bool word_pieces) {
  parts.vocab.reserve(source.tokens->size());
  for (size_t i = 0; i < source.tokens->size(); ++i) {
    const int type = source.type(i);
    std::string token = (*source.tokens)[i];
    if (type == kUnused) continue;  // a hole of the vocabulary
    if (!unicode::is_valid_utf8(token))
      return bad_input(source.at("tokens") + "[" + std::to_string(i) + "]: " + in_quotes(token) +
                       " is not UTF-8");
    if (word_pieces && type != kControl) {
      if (token.starts_with(kSpaceMark)) {
        token.erase(0, kSpaceMark.size());
      } else {
        token = std::string("##").append(token);
      }
    }
    if (auto added = parts.vocab.add(token, static_cast<int64_t>(i)); !added)
      return tl::unexpected(added.error().within(source.at("tokens") + "[" + std::to_string(i) + "]"));
    if (type == kControl || type == kUserDefined || type == kUnknown)
      parts.added.push_back({token, static_cast<int32_t>(i), false, false, false, false, type != kUserDefined});
  }
  return {};
}

Result<void> add_merges(const Source& source, Parts& parts) {
  const auto* merges = source.metadata.array<std::string>("tokenizer.ggml.merges");
  if (merges == nullptr)
    return bad_input(source.at("merges") + ": expected an array of strings, got nothing such");
  parts.merges.reserve(merges->size());
  for (size_t i = 0; i < merges->size(); ++i) {
    const std::string_view merge = (*merges)[i];
    const std::string where = source.at("merges") + "[" + std::to_string(i) + "]";
    const size_t space = merge.find(' ', 1);
    if (space == std::string_view::npos || space + 1 == merge.size())
      return bad_input(where + ": expected two tokens and a space between, got " + in_quotes(merge));
    const std::string_view left = merge.substr(0, space), right = merge.substr(space + 1);
    for (const std::string& token :
         {std::string(left), std::string(right), std::string(left) + std::string(right)})
      if (parts.vocab.find(token) == Vocab::kAbsent)
        return bad_input(where + ": token " + in_quotes(token) + " is not in the vocabulary");
    parts.merges.push_back({parts.vocab.find(left), parts.vocab.find(right)});
  }
  return {};
}

std::string token_or_empty(const Vocab& vocab, int64_t id) {
  const auto token = vocab.token(id);
  return token ? std::string(*token) : std::string();
}

// ---------------------------------------------------------------- one function per tokenizer.ggml.model

Result<Parts> byte_level_bpe(const Source& source) {
  Parts parts;
  LISSOM_CHECK(add_tokens(source, parts, false));
  LISSOM_CHECK(add_merges(source, parts));
  const std::string name = source.metadata.string_or("tokenizer.ggml.pre", "default");
  const auto& names = pre_names();
  const auto pre = std::find_if(names.begin(), names.end(), [&](const PreName& p) { return p.name == name; });
  if (pre == names.end()) return unsupported(source.at("pre") + ": unknown pre-tokenizer " + in_quotes(name));
  parts.pre_tokenizer = pre->pre_tokenizer;
  if (source.metadata.boolean_or("lissom.tokenizer.nfc", pre->nfc)) parts.normalizer = {{"type", "NFC"}};
  if (source.flag("add_space_prefix", false)) {
    Json* last = &parts.pre_tokenizer;
    if (last->contains("pretokenizers")) last = &(*last)["pretokenizers"].back();
    (*last)["add_prefix_space"] = true;
  }
  parts.model = {{"type", "BPE"},
                 {"dropout", nullptr},
                 {"unk_token", nullptr},
                 {"continuing_subword_prefix", ""},
                 {"end_of_word_suffix", ""},
                 {"fuse_unk", false},
                 {"byte_fallback", false},
                 {"ignore_merges", pre->ignore_merges}};
  parts.decoder = {
      {"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}};
  std::vector<std::string> before, after;
  const std::string bos = token_or_empty(parts.vocab, source.id("bos_token_id", -1));
  const std::string eos = token_or_empty(parts.vocab, source.id("eos_token_id", -1));
  if (source.flag("add_bos_token", pre->add_bos) && !bos.empty()) before.push_back(bos);
  if (source.flag("add_eos_token", false) && !eos.empty()) after.push_back(eos);
  if (before.empty() && after.empty()) {
    parts.post_processor = {
        {"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", false}, {"use_regex", true}};
  } else {
    parts.post_processor = make_template(before, after, before, parts.vocab);
  }
  return parts;
}

Result<Parts> word_piece(const Source& source) {
  Parts parts;
  LISSOM_CHECK(add_tokens(source, parts, true));
  const bool lowercase = source.flag("normalizer.lowercase", true);
  parts.normalizer = {{"type", "BertNormalizer"},
                      {"clean_text", true},
                      {"handle_chinese_chars", true},
                      {"strip_accents", nullptr},
                      {"lowercase", lowercase}};
  if (source.metadata.find("tokenizer.ggml.normalizer.strip_accents") != nullptr)
    parts.normalizer["strip_accents"] = source.flag("normalizer.strip_accents", lowercase);
  parts.pre_tokenizer = {{"type", "BertPreTokenizer"}};
  const std::string unknown = token_or_empty(parts.vocab, source.id("unknown_token_id", 100));
  if (unknown.empty()) return bad_input(source.at("unknown_token_id") + ": no such token");
  parts.model = {{"type", "WordPiece"},
                 {"unk_token", unknown},
                 {"continuing_subword_prefix", "##"},
                 {"max_input_chars_per_word", 100}};
  parts.decoder = {{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}};
  const std::string cls = token_or_empty(parts.vocab, source.id("bos_token_id", 101));
  const int64_t sep_id = source.id("seperator_token_id", 102);
  const std::string sep = token_or_empty(parts.vocab, sep_id);
  std::vector<std::string> before, after;
  if (source.flag("add_bos_token", true) && !cls.empty()) before.push_back(cls);
  // The separator comes as such or as the end of text, never twice.
  if ((source.flag("add_sep_token", true) || source.flag("add_eos_token", false)) && !sep.empty())
    after.push_back(sep);
  parts.post_processor = make_template(before, after, {}, parts.vocab);
  return parts;
}

struct Kind {
  std::string_view model;
  Result<Parts> (*read)(const Source& source);
};
constexpr Kind kKinds[] = {
    {"gpt2", byte_level_bpe},
    {"bert", word_piece},
};

}  // namespace

Result<Parts> parts_from_gguf(const GgufMetadata& metadata, const std::string& origin) {
  Source source{metadata, origin};
  const std::string model = metadata.string_or("tokenizer.ggml.model", "");
  if (model.empty()) return bad_input(source.at("model") + ": the file has no tokenizer");
  source.tokens = metadata.array<std::string>("tokenizer.ggml.tokens");
  if (source.tokens == nullptr) return bad_input(source.at("tokens") + ": expected an array of strings");
  if (metadata.find("tokenizer.ggml.token_type") != nullptr) {
    source.types = metadata.array<int32_t>("tokenizer.ggml.token_type");
    if (source.types == nullptr || source.types->size() != source.tokens->size())
      return bad_input(source.at("token_type") + ": expected one 32-bit integer for each token");
  }
  for (const Kind& kind : kKinds)
    if (kind.model == model) return kind.read(source);
  return unsupported(source.at("model") + ": unknown tokenizer " + in_quotes(model));
}

}  // namespace lissom::tok

namespace lissom {

Result<TokenizerFiles> hf_tokenizer_files(const GgufMetadata& metadata, const std::string& origin) {
  LISSOM_TRY(const tok::Parts parts, tok::parts_from_gguf(metadata, origin));
  Json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                 {"clean_up_tokenization_spaces", false},
                 {"model_max_length", 1'000'000'000}};
  const bool bert = metadata.string_or("tokenizer.ggml.model", "") == "bert";
  using Role = std::pair<const char*, const char*>;
  const Role roles[] = {{"bos_token_id", bert ? "cls_token" : "bos_token"},
                        {"eos_token_id", bert ? "sep_token" : "eos_token"},
                        {"unknown_token_id", "unk_token"},
                        {"seperator_token_id", "sep_token"},
                        {"padding_token_id", "pad_token"},
                        {"mask_token_id", "mask_token"}};
  for (const auto& [key, role] : roles)
    if (const auto token = parts.vocab.token(metadata.integer_or(std::string("tokenizer.ggml.") + key, -1)))
      config[role] = std::string(*token);
  const std::string chat = metadata.string_or("tokenizer.chat_template", "");
  if (!chat.empty()) config["chat_template"] = chat;
  return TokenizerFiles{tok::json_from_parts(parts),
                        config.dump(2, ' ', false, Json::error_handler_t::replace) + "\n"};
}

}  // namespace lissom
