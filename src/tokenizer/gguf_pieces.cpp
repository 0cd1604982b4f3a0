// Vocabularies of pieces in GGUF: tokenizer.ggml.model llama and t5.

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/text.h"
#include "tokenizer/byte_tokens.h"
#include "tokenizer/charsmap.h"
#include "tokenizer/gguf_tokenizer.h"
#include "tokenizer/sentencepiece.h"

namespace lissom::tok {
namespace {

enum TokenType { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

/// The first stage of this type in a normalizer or pre-tokenizer, or null.
const Json* find_stage(const Json& stages, std::string_view type) {
  if (!stages.is_object()) return nullptr;
  if (stages.value("type", Json()) == type) return &stages;
  for (const char* list : {"normalizers", "pretokenizers", "decoders"}) {
    const auto it = stages.find(list);
    if (it == stages.end() || !it->is_array()) continue;
    for (const Json& stage : *it)
      if (const Json* found = find_stage(stage, type)) return found;
  }
  return nullptr;
}

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

/// A token's score falls with the rank of the merge that first makes it; others are never made by merging.
std::vector<float> scores_of_merges(const Parts& parts, int64_t rows) {
  std::vector<float> scores(static_cast<size_t>(rows), -static_cast<float>(parts.merges.size()) - 1);
  std::vector<bool> made(static_cast<size_t>(rows), false);
  std::string joined;
  for (size_t rank = 0; rank < parts.merges.size(); ++rank) {
    joined.assign(*parts.vocab.token(parts.merges[rank][0]));
    joined += *parts.vocab.token(parts.merges[rank][1]);
    const auto id = static_cast<size_t>(parts.vocab.find(joined));
    if (!made[id]) scores[id] = -static_cast<float>(rank);
    made[id] = true;
  }
  return scores;
}

/// Whether reading the scores gives these very merges.
bool scores_say_merges(const Parts& parts, const std::vector<float>& scores,
                       const std::vector<int32_t>& types) {
  Parts again;
  again.vocab = parts.vocab;
  std::vector<bool> usable(types.size());
  for (size_t i = 0; i < types.size(); ++i) usable[i] = types[i] == kNormal || types[i] == kUserDefined;
  add_scored_merges(again, scores, usable, false);
  return again.merges == parts.merges;
}

std::vector<std::string> merge_strings(const Parts& parts) {
  std::vector<std::string> merges;
  for (const auto& [left, right] : parts.merges) {
    std::string merge(*parts.vocab.token(left));
    merge += ' ';
    merge += *parts.vocab.token(right);
    merges.push_back(std::move(merge));
  }
  return merges;
}

Result<void> add_unigram(const Parts& parts, TokenTable& table, GgufMetadata& out) {
  std::vector<float> scores(table.tokens.size(), 0.0F);
  // Added tokens that the model does not know are cut out before it and found by nothing else.
  std::vector<double> exact(table.tokens.size(), -std::numeric_limits<double>::infinity());
  bool lossy = static_cast<int64_t>(parts.scores.size()) <
               std::count_if(
                   table.types.begin(), table.types.end(), [](int32_t type) { return type != kUnused; });
  for (size_t i = 0; i < parts.scores.size(); ++i) {
    exact[i] = parts.scores[i];
    scores[i] = std::isfinite(exact[i]) ? static_cast<float>(exact[i]) : 0.0F;
    lossy = lossy || static_cast<double>(scores[i]) != exact[i];
  }
  out.set("tokenizer.ggml.model", std::string("t5"));
  out.set_array("tokenizer.ggml.scores", std::move(scores));
  if (lossy) out.set_array("lissom.tokenizer.scores", std::move(exact));
  if (const Json* map = find_stage(parts.normalizer, "Precompiled");
      map != nullptr && map->value("precompiled_charsmap", Json()).is_string()) {
    const auto bytes = from_base64((*map)["precompiled_charsmap"].get<std::string>());
    if (bytes)
      out.set_array("tokenizer.ggml.precompiled_charsmap", std::vector<uint8_t>(bytes->begin(), bytes->end()));
  }
  out.set("tokenizer.ggml.remove_extra_whitespaces", dump(parts.normalizer).find(" {2,}") != std::string::npos);
  return {};
}

Result<void> add_bpe(const Parts& parts, const std::string& origin, const TokenTable& table,
                     GgufMetadata& out) {
  for (const char* field : {"continuing_subword_prefix", "end_of_word_suffix"})
    if (const Json value = parts.model.value(field, Json());
        value.is_string() && !value.get<std::string>().empty())
      return unsupported(origin + ": model." + field + ": a GGUF cannot hold it");
  std::vector<float> scores = scores_of_merges(parts, static_cast<int64_t>(table.tokens.size()));
  // llama.cpp knows scores only; a tokenizer.json whose merges follow another order keeps them for us.
  if (!scores_say_merges(parts, scores, table.types))
    out.set_array("tokenizer.ggml.merges", merge_strings(parts));
  out.set("tokenizer.ggml.model", std::string("llama"));
  out.set_array("tokenizer.ggml.scores", std::move(scores));
  return {};
}

bool prepends_space(const Parts& parts) {
  if (const Json* stage = find_stage(parts.pre_tokenizer, "Metaspace"))
    return stage->value("prepend_scheme", Json("always")) != "never";
  return find_stage(parts.normalizer, "Prepend") != nullptr;
}

}  // namespace

bool is_piece_bpe(const Parts& parts) {
  return parts.model.value("type", Json("BPE")) == "BPE" &&
         find_stage(parts.pre_tokenizer, "ByteLevel") == nullptr &&
         find_stage(parts.normalizer, "ByteLevel") == nullptr &&
         find_stage(parts.decoder, "ByteLevel") == nullptr;
}

Result<void> add_gguf_pieces(const Parts& parts, const std::string& origin, int64_t rows, GgufMetadata& out) {
  TokenTable table = token_table(parts, rows, false);
  const bool bytes = parts.model.value("byte_fallback", Json(false)) == true;
  for (size_t i = 0; i < table.tokens.size(); ++i)
    if (bytes && table.types[i] == kNormal && fallback_byte(table.tokens[i]) >= 0) table.types[i] = kByte;
  // An unknown token is what its model calls so, be it an added token or not.
  int64_t unknown = -1;
  if (parts.model.contains("unk_id") && parts.model["unk_id"].is_number_integer())
    unknown = parts.model["unk_id"];
  if (parts.model.contains("unk_token") && parts.model["unk_token"].is_string())
    unknown = parts.vocab.find(parts.model["unk_token"].get<std::string>());
  if (unknown >= 0 && unknown < rows) table.types[static_cast<size_t>(unknown)] = kUnknown;
  LISSOM_CHECK(parts.scores.empty() ? add_bpe(parts, origin, table, out) : add_unigram(parts, table, out));
  out.set("tokenizer.ggml.pre", std::string("default"));
  out.set_array("tokenizer.ggml.tokens", std::move(table.tokens));
  out.set_array("tokenizer.ggml.token_type", std::move(table.types));
  out.set("tokenizer.ggml.add_space_prefix", prepends_space(parts));
  Json model = parts.model;
  model.erase("type");
  out.set("lissom.tokenizer.stages", dump({{"normalizer", parts.normalizer},
                                           {"pre_tokenizer", parts.pre_tokenizer},
                                           {"post_processor", parts.post_processor},
                                           {"decoder", parts.decoder},
                                           {"model", model},
                                           {"added_tokens", added_list(parts)}}));
  return {};
}

Result<void> add_gguf_sentencepiece(std::string_view bytes, const std::string& origin, int64_t rows,
                                    GgufMetadata& out) {
  LISSOM_TRY(const SentencePieceModel model, read_sentencepiece(bytes, origin));
  if (static_cast<int64_t>(model.pieces.size()) > rows)
    return bad_input(origin + ": " + std::to_string(model.pieces.size()) +
                     " pieces, but the model's embedding has " + std::to_string(rows) + " rows");
  LISSOM_TRY(const Parts parts, parts_from_sentencepiece(model, origin));
  TokenTable table = token_table(parts, rows, false);
  std::vector<float> scores(table.tokens.size(), 0.0F);
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    table.tokens[i] = model.pieces[i].text;
    table.types[i] = model.pieces[i].type;
    scores[i] = model.pieces[i].score;
  }
  out.set("tokenizer.ggml.model", std::string(model.bpe ? "llama" : "t5"));
  out.set("tokenizer.ggml.pre", std::string("default"));
  out.set_array("tokenizer.ggml.tokens", std::move(table.tokens));
  out.set_array("tokenizer.ggml.scores", std::move(scores));
  out.set_array("tokenizer.ggml.token_type", std::move(table.types));
  out.set("tokenizer.ggml.add_space_prefix", model.add_dummy_prefix);
  out.set("tokenizer.ggml.remove_extra_whitespaces", model.remove_extra_whitespaces);
  if (!model.bpe && !model.charsmap.empty())
    out.set_array("tokenizer.ggml.precompiled_charsmap",
                  std::vector<uint8_t>(model.charsmap.begin(), model.charsmap.end()));
  const std::pair<const char*, int64_t> ids[] = {
      {"bos", model.bos}, {"eos", model.eos}, {"unknown", model.unknown}, {"padding", model.pad}};
  for (const auto& [role, id] : ids)
    if (id >= 0) out.set(std::string("tokenizer.ggml.") + role + "_token_id", static_cast<uint32_t>(id));
  out.set("lissom.tokenizer.stages", dump({{"normalizer", parts.normalizer},
                                           {"pre_tokenizer", nullptr},
                                           {"decoder", parts.decoder},
                                           {"sentencepiece", true}}));
  return {};
}

}  // namespace lissom::tok
