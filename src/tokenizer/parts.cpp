#include "tokenizer/parts.h"

#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "tokenizer/fields.h"

namespace lissom::tok {
namespace {

std::string indexed(const std::string& where, size_t i) {
  return where + "[" + std::to_string(i) + "]";
}

/// Unigram: [["token", log probability], …], ids in order.
Result<void> read_scored_vocab(const Fields& model, Parts& parts) {
  const Json& vocab = *model.find("vocab");
  parts.vocab.reserve(vocab.size());
  parts.scores.reserve(vocab.size());
  for (size_t i = 0; i < vocab.size(); ++i) {
    const Json& entry = vocab[i];
    const std::string where = indexed(model.at("vocab"), i);
    if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number())
      return bad_input(where + ": expected [token, score]");
    if (auto added = parts.vocab.add(entry[0].get_ref<const std::string&>(), static_cast<int64_t>(i)); !added)
      return tl::unexpected(added.error().within(where));
    parts.scores.push_back(entry[1].get<double>());
  }
  return {};
}

Result<void> read_vocab(const Fields& model, Parts& parts) {
  const Json *list = model.find("vocab"), *type = model.find("type");
  if (list != nullptr && list->is_array() && (type == nullptr || *type == "Unigram"))
    return read_scored_vocab(model, parts);
  LISSOM_TRY(const Fields fields, model.object("vocab"));
  const Json& vocab = *model.find("vocab");
  parts.vocab.reserve(vocab.size());
  const std::string& where = fields.where();
  for (const auto& [token, value] : vocab.items()) {
    if (!value.is_number_integer())
      return bad_input(where + ": token " + in_quotes(token) + ": expected an integer, got " +
                       value.type_name());
    const bool huge = value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX);
    const int64_t id = huge ? INT64_MAX : value.get<int64_t>();
    if (id > Vocab::max_id(vocab.size()))
      return bad_input(where + ": token " + in_quotes(token) + " has the id " + value.dump() +
                       ", out of range for a vocabulary of " + std::to_string(vocab.size()));
    if (auto added = parts.vocab.add(token, id); !added) return tl::unexpected(added.error().within(where));
  }
  return {};
}

/// A merge is "a b" or ["a", "b"].
Result<void> read_merges(const Fields& model, Parts& parts) {
  const std::string prefix = [&] {
    const Json* p = model.find("continuing_subword_prefix");
    return p != nullptr && p->is_string() ? p->get<std::string>() : std::string();
  }();
  LISSOM_TRY(const Json* merges, model.array("merges"));
  const std::string where = model.at("merges");
  parts.merges.reserve(merges->size());
  std::string joined;
  for (size_t i = 0; i < merges->size(); ++i) {
    const Json& merge = (*merges)[i];
    std::string_view left, right;
    if (const auto* text = merge.get_ptr<const std::string*>()) {
      const size_t space = text->find(' ');
      if (space == std::string::npos || text->find(' ', space + 1) != std::string::npos)
        return bad_input(indexed(where, i) + ": expected two tokens and a space between, got " +
                         in_quotes(*text));
      left = std::string_view(*text).substr(0, space);
      right = std::string_view(*text).substr(space + 1);
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      left = *merge[0].get_ptr<const std::string*>();
      right = *merge[1].get_ptr<const std::string*>();
    } else {
      return bad_input(indexed(where, i) + ": expected \"a b\" or [\"a\", \"b\"]");
    }
    joined.assign(left);
    joined += right.substr(std::min(right.size(), prefix.size()));
    for (const std::string_view token : {left, right, std::string_view(joined)})
      if (parts.vocab.find(token) == Vocab::kAbsent)
        return bad_input(indexed(where, i) + ": token " + in_quotes(token) + " is not in the vocabulary");
    parts.merges.push_back({parts.vocab.find(left), parts.vocab.find(right)});
  }
  return {};
}

Result<void> read_added(const Fields& root, Parts& parts) {
  if (root.find("added_tokens") == nullptr) return {};
  LISSOM_TRY(const Json* tokens, root.array("added_tokens"));
  const int64_t limit = Vocab::max_id(parts.vocab.size() + tokens->size());
  for (size_t i = 0; i < tokens->size(); ++i) {
    LISSOM_TRY(const Fields fields, fields_of((*tokens)[i], indexed(root.at("added_tokens"), i)));
    LISSOM_CHECK(fields.only({"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"}));
    AddedToken token;
    LISSOM_TRY(token.content, fields.string("content"));
    if (fields.find("id") == nullptr) return fields.wrong("id", "an integer");
    LISSOM_TRY(const int64_t id, fields.integer("id", 0, 0, limit));
    token.id = static_cast<int32_t>(id);
    LISSOM_TRY(token.single_word, fields.boolean("single_word", false));
    LISSOM_TRY(token.lstrip, fields.boolean("lstrip", false));
    LISSOM_TRY(token.rstrip, fields.boolean("rstrip", false));
    LISSOM_TRY(token.special, fields.boolean("special", false));
    LISSOM_TRY(token.normalized, fields.boolean("normalized", !token.special));
    parts.added.push_back(std::move(token));
  }
  return {};
}

}  // namespace

Result<Parts> parts_from_json(std::string_view json, const std::string& origin) {
  LISSOM_TRY(Json document, parse_json(json, origin));
  if (!document.is_object()) return bad_input(origin + ": expected an object, got " + document.type_name());
  const Fields root(document, origin + ":");
  for (const auto& [name, value] : document.items())
    if (const std::initializer_list<std::string_view> known = {"version", "truncation", "padding",
                                                               "added_tokens", "normalizer", "pre_tokenizer",
                                                               "post_processor", "decoder", "model"};
        std::find(known.begin(), known.end(), name) == known.end())
      return unsupported(origin + ": unknown field " + in_quotes(name));
  Parts parts;
  const Json* model_json = root.find("model");
  if (model_json == nullptr || !model_json->is_object()) return root.wrong("model", "an object");
  const Fields model(*model_json, origin + ": model");
  LISSOM_CHECK(read_vocab(model, parts));
  if (model.find("merges") != nullptr) LISSOM_CHECK(read_merges(model, parts));
  LISSOM_CHECK(read_added(root, parts));
  for (const auto& [name, slot] : {std::pair{"normalizer", &parts.normalizer},
                                   {"pre_tokenizer", &parts.pre_tokenizer},
                                   {"post_processor", &parts.post_processor},
                                   {"decoder", &parts.decoder},
                                   {"truncation", &parts.truncation},
                                   {"padding", &parts.padding}})
    if (root.find(name) != nullptr) *slot = std::move(document[name]);
  parts.model = std::move(document["model"]);
  parts.model.erase("vocab");
  parts.model.erase("merges");
  return parts;
}

namespace {

/// JSON has no infinity, which stands for "not found in a text".
std::string score_text(double score) {
  return Json(std::isfinite(score) ? score : 0.0).dump();
}

}  // namespace

Json added_list(const Parts& parts) {
  Json added = Json::array();
  for (const AddedToken& t : parts.added)
    added.push_back({{"id", t.id},
                     {"content", t.content},
                     {"single_word", t.single_word},
                     {"lstrip", t.lstrip},
                     {"rstrip", t.rstrip},
                     {"normalized", t.normalized},
                     {"special", t.special}});
  return added;
}

std::string json_from_parts(const Parts& parts) {
  // Members of a Json object come in the order of their names, a vocabulary should come in that of its ids, so
  // the model's large members are written by hand.
  const auto quoted = [](std::string_view s) {
    return Json(s).dump(-1, ' ', false, Json::error_handler_t::replace);
  };
  std::string model = parts.model.dump(-1, ' ', false, Json::error_handler_t::replace);
  model.pop_back();
  const bool scored = !parts.scores.empty();
  model += scored ? R"(,"vocab":[)" : R"(,"vocab":{)";
  bool first = true;
  for (int64_t id = 0; id < parts.vocab.end_id(); ++id) {
    const auto token = parts.vocab.token(id);
    if (!token) continue;
    model += (first ? "" : ",");
    model += scored ? "[" + quoted(*token) + "," + score_text(parts.scores[static_cast<size_t>(id)]) + "]"
                    : quoted(*token) + ":" + std::to_string(id);
    first = false;
  }
  model += scored ? "]" : "}";
  if (!parts.merges.empty() || parts.model.value("type", "") == "BPE") {
    model += R"(,"merges":[)";
    for (size_t i = 0; i < parts.merges.size(); ++i)
      model += (i == 0 ? "[" : ",[") + quoted(*parts.vocab.token(parts.merges[i][0])) + "," +
               quoted(*parts.vocab.token(parts.merges[i][1])) + "]";
    model += "]";
  }
  model += "}";
  const auto dump = [](const Json& j) { return j.dump(-1, ' ', false, Json::error_handler_t::replace); };
  return R"({"version":"1.0","truncation":)" + dump(parts.truncation) + R"(,"padding":)" + dump(parts.padding) +
         R"(,"added_tokens":)" + dump(added_list(parts)) + R"(,"normalizer":)" + dump(parts.normalizer) +
         R"(,"pre_tokenizer":)" + dump(parts.pre_tokenizer) + R"(,"post_processor":)" +
         dump(parts.post_processor) + R"(,"decoder":)" + dump(parts.decoder) + R"(,"model":)" + model + "}\n";
}

}  // namespace lissom::tok
