#include <algorithm>
#include <cmath>
#include <map>

#include "base/text.h"
#include "lissom/tokenizer.h"
#include "tokenizer/charsmap.h"
#include "tokenizer/gguf_tokenizer.h"
#include "tokenizer/sentencepiece.h"
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
  Json own = Json::object();                    ///< lissom.tokenizer.stages

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

/// Added tokens that `own` writes differently from tokenizer.ggml.tokens, by id.
std::map<int64_t, std::string> own_contents(const Source& source) {
  std::map<int64_t, std::string> contents;
  const auto list = source.own.find("added_tokens");
  if (list == source.own.end() || !list->is_array()) return contents;
  for (const Json& token : *list)
    if (token.is_object() && token.value("id", Json()).is_number_integer() &&
        token.value("content", Json()).is_string())
      contents[token["id"].get<int64_t>()] = token["content"].get<std::string>();
  return contents;
}

Result<void> add_tokens(const Source& source, Parts& parts, bool word_pieces) {
  const std::map<int64_t, std::string> contents = own_contents(source);
  parts.vocab.reserve(source.tokens->size());
  for (size_t i = 0; i < source.tokens->size(); ++i) {
    const int type = source.type(i);
    std::string token = (*source.tokens)[i];
    if (const auto own = contents.find(static_cast<int64_t>(i)); own != contents.end()) token = own->second;
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

// ---------------------------------------------------------------- pieces: llama, t5

/// The stages of `own` in place of those that the keys of llama.cpp imply.
Result<void> use_own_stages(const Source& source, Parts& parts) {
  for (const auto& [name, slot] : {std::pair{"normalizer", &parts.normalizer},
                                   {"pre_tokenizer", &parts.pre_tokenizer},
                                   {"post_processor", &parts.post_processor},
                                   {"decoder", &parts.decoder}})
    if (source.own.contains(name)) *slot = source.own[name];
  if (source.own.contains("model")) {
    if (!source.own["model"].is_object())
      return bad_input(source.origin + ": lissom.tokenizer.stages: model: expected an object");
    for (const auto& [name, value] : source.own["model"].items()) parts.model[name] = value;
  }
  if (!source.own.contains("added_tokens")) return {};
  Json document = {{"model", {{"vocab", Json::object()}}}, {"added_tokens", source.own["added_tokens"]}};
  const auto added = parts_from_json(document.dump(-1, ' ', false, Json::error_handler_t::replace),
                                     source.origin + ": lissom.tokenizer.stages");
  if (!added) return tl::unexpected(added.error());
  parts.added = added->added;
  return {};
}

Result<const std::vector<float>*> scores_of(const Source& source) {
  const auto* scores = source.metadata.array<float>("tokenizer.ggml.scores");
  if (scores == nullptr || scores->size() != source.tokens->size())
    return bad_input(source.at("scores") + ": expected one float for each token");
  for (const float score : *scores)
    if (std::isnan(score)) return bad_input(source.at("scores") + ": not a number");
  return scores;
}

void surround(const Source& source, bool add_bos, bool add_eos, Parts& parts) {
  std::vector<std::string> before, after;
  const std::string bos = token_or_empty(parts.vocab, source.id("bos_token_id", -1));
  const std::string eos = token_or_empty(parts.vocab, source.id("eos_token_id", -1));
  if (source.flag("add_bos_token", add_bos) && !bos.empty()) before.push_back(bos);
  if (source.flag("add_eos_token", add_eos) && !eos.empty()) after.push_back(eos);
  if (!before.empty() || !after.empty())
    parts.post_processor = make_template(before, after, before, parts.vocab);
}

/// What add_gguf_sentencepiece() wrote.
Result<Parts> from_tokenizer_model(const Source& source, bool bpe) {
  SentencePieceModel model;
  LISSOM_TRY(const std::vector<float>* scores, scores_of(source));
  for (size_t i = 0; i < source.tokens->size(); ++i) {
    if (source.type(i) == kByte) model.byte_fallback = true;
    if (source.type(i) == kUnknown) model.unknown = static_cast<int64_t>(i);
    model.pieces.push_back({(*source.tokens)[i], (*scores)[i], source.type(i)});
    if (!unicode::is_valid_utf8(model.pieces.back().text))
      return bad_input(source.at("tokens") + "[" + std::to_string(i) + "]: not UTF-8");
  }
  while (!model.pieces.empty() && model.pieces.back().type == kUnused &&
         model.pieces.back().text.starts_with("[PAD"))
    model.pieces.pop_back();
  if (model.unknown < 0) return bad_input(source.at("token_type") + ": no unknown token");
  model.bpe = bpe;
  model.add_dummy_prefix = source.flag("add_space_prefix", true);
  model.remove_extra_whitespaces = source.flag("remove_extra_whitespaces", true);
  const Json map = source.own.value("normalizer", Json::object()).value("precompiled_charsmap", Json());
  if (map.is_string()) {
    auto bytes = from_base64(map.get<std::string>());
    if (!bytes) return bad_input(source.origin + ": lissom.tokenizer.stages: precompiled_charsmap: not base64");
    model.charsmap = *std::move(bytes);
  }
  LISSOM_TRY(Parts parts, parts_from_sentencepiece(model, source.origin));
  surround(source, bpe, !bpe, parts);
  return parts;
}
bool is_tokenizer_model(const Source& source) {
  return source.own.value("sentencepiece", Json(false)) == true &&
         source.own.value("normalizer", Json()).is_object();
}

/// As transformers turns a Llama tokenizer.model into a tokenizer.json.
Result<Parts> sentencepiece_bpe(const Source& source) {
  if (is_tokenizer_model(source)) return from_tokenizer_model(source, true);
  Parts parts;
  LISSOM_CHECK(add_tokens(source, parts, false));
  LISSOM_TRY(const std::vector<float>* scores, scores_of(source));
  std::vector<bool> normal(source.tokens->size());
  bool bytes = false;
  for (size_t i = 0; i < normal.size(); ++i) {
    normal[i] = source.type(i) == kNormal || source.type(i) == kUserDefined;
    bytes = bytes || source.type(i) == kByte;
  }
  if (source.metadata.find("tokenizer.ggml.merges") != nullptr) {
    LISSOM_CHECK(add_merges(source, parts));
  } else {
    add_scored_merges(parts, *scores, normal, false);
  }
  const Json replace = {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kSpaceMark}};
  Json stages = Json::array({replace});
  if (source.flag("add_space_prefix", true)) stages = {{{"type", "Prepend"}, {"prepend", kSpaceMark}}, replace};
  parts.normalizer = {{"type", "Sequence"}, {"normalizers", stages}};
  Json decoders = {{{"type", "Replace"}, {"pattern", {{"String", kSpaceMark}}}, {"content", " "}},
                   {{"type", "ByteFallback"}},
                   {{"type", "Fuse"}}};
  if (source.flag("add_space_prefix", true))
    decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  parts.decoder = {{"type", "Sequence"}, {"decoders", decoders}};
  const std::string unknown = token_or_empty(parts.vocab, source.id("unknown_token_id", 0));
  parts.model = {{"type", "BPE"},
                 {"dropout", nullptr},
                 {"unk_token", unknown.empty() ? Json() : Json(unknown)},
                 {"continuing_subword_prefix", nullptr},
                 {"end_of_word_suffix", nullptr},
                 {"fuse_unk", true},
                 {"byte_fallback", bytes},
                 {"ignore_merges", false}};
  surround(source, true, false, parts);
  LISSOM_CHECK(use_own_stages(source, parts));
  return parts;
}

/// As transformers turns a T5 tokenizer.model into a tokenizer.json.
Result<Parts> unigram(const Source& source) {
  if (is_tokenizer_model(source)) return from_tokenizer_model(source, false);
  Parts parts;
  LISSOM_CHECK(add_tokens(source, parts, false));
  LISSOM_TRY(const std::vector<float>* scores, scores_of(source));
  const auto* exact = source.metadata.array<double>("lissom.tokenizer.scores");
  if (exact != nullptr && exact->size() != scores->size())
    return bad_input(source.origin + ": lissom.tokenizer.scores: expected one double for each token");
  bool bytes = false;
  for (int64_t i = 0; i < parts.vocab.end_id(); ++i) {
    const auto at = static_cast<size_t>(i);
    if (!parts.vocab.token(i))
      return unsupported(source.at("token_type") + "[" + std::to_string(i) +
                         "]: an unused row before the last token");
    parts.scores.push_back(exact != nullptr ? (*exact)[at] : double{(*scores)[at]});
    if (std::isnan(parts.scores.back()))
      return bad_input(source.origin + ": lissom.tokenizer.scores: not a number");
    bytes = bytes || source.type(at) == kByte;
  }
  Json normalizers = Json::array();
  if (const auto* map = source.metadata.array<uint8_t>("tokenizer.ggml.precompiled_charsmap");
      map != nullptr && !map->empty())
    normalizers.push_back(
        {{"type", "Precompiled"},
         {"precompiled_charsmap", to_base64({reinterpret_cast<const char*>(map->data()), map->size()})}});
  if (source.flag("remove_extra_whitespaces", false))
    normalizers.push_back({{"type", "Replace"}, {"pattern", {{"Regex", " {2,}"}}}, {"content", " "}});
  if (!normalizers.empty()) parts.normalizer = {{"type", "Sequence"}, {"normalizers", normalizers}};
  parts.pre_tokenizer = {{"type", "Metaspace"},
                         {"replacement", kSpaceMark},
                         {"prepend_scheme", source.flag("add_space_prefix", true) ? "always" : "never"},
                         {"split", true}};
  parts.decoder = parts.pre_tokenizer;
  const int64_t unknown = source.id("unknown_token_id", 2);
  parts.model = {
      {"type", "Unigram"}, {"unk_id", unknown < 0 ? Json() : Json(unknown)}, {"byte_fallback", bytes}};
  surround(source, false, true, parts);
  LISSOM_CHECK(use_own_stages(source, parts));
  return parts;
}

struct Kind {
  std::string_view model;
  Result<Parts> (*read)(const Source& source);
};
constexpr Kind kKinds[] = {
    {"gpt2", byte_level_bpe},
    {"bert", word_piece},
    {"llama", sentencepiece_bpe},
    {"t5", unigram},
};

}  // namespace

Result<Parts> parts_from_gguf(const GgufMetadata& metadata, const std::string& origin, bool own_kinds) {
  Source source{metadata, origin, nullptr, nullptr, Json::object()};
  if (const std::string own = metadata.string_or("lissom.tokenizer.stages", ""); !own.empty()) {
    LISSOM_TRY(source.own, parse_json(own, origin + ": lissom.tokenizer.stages"));
    if (!source.own.is_object()) return bad_input(origin + ": lissom.tokenizer.stages: expected an object");
    // Kinds of stages that are ours are not for files that others read.
    if (!own_kinds && own.find("SentencePiece") != std::string::npos) source.own = Json::object();
  }
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
  LISSOM_TRY(const tok::Parts parts, tok::parts_from_gguf(metadata, origin, false));
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
