#include <algorithm>
#include <map>
#include <utility>

#include "base/text.h"
#include "tokenizer/fields.h"
#include "tokenizer/pipeline.h"

namespace lissom::tok {
namespace {

constexpr int64_t kMaxId = INT32_MAX - 1;

void append(Encoding& out, const Encoding& more, std::optional<int32_t> type = {}) {
  out.ids.insert(out.ids.end(), more.ids.begin(), more.ids.end());
  if (type) {
    out.type_ids.resize(out.ids.size(), *type);
  } else {
    out.type_ids.insert(out.type_ids.end(), more.type_ids.begin(), more.type_ids.end());
  }
}

// ---------------------------------------------------------------- TemplateProcessing

/// Sequence A (0) or B (1), or the ids of a special token.
struct Slot {
  int sequence = -1;
  std::vector<int32_t> ids;
  int32_t type = 0;
};

Result<std::vector<int32_t>> read_ids(const Fields& token) {
  LISSOM_TRY(const Json* list, token.array("ids"));
  std::vector<int32_t> ids;
  for (const Json& id : *list) {
    if (!id.is_number_integer() || id < 0 || id > kMaxId) return token.wrong("ids", "an array of token ids");
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

Result<std::vector<Slot>> read_template(const Fields& fields, std::string_view field,
                                        const std::map<std::string, std::vector<int32_t>>& specials) {
  LISSOM_TRY(const Json* list, fields.array(field));
  std::vector<Slot> slots;
  for (size_t i = 0; i < list->size(); ++i) {
    LISSOM_TRY(const Fields item, fields_of((*list)[i], fields.at(field) + "[" + std::to_string(i) + "]"));
    LISSOM_CHECK(item.only({"Sequence", "SpecialToken"}));
    const bool special = item.find("SpecialToken") != nullptr;
    LISSOM_TRY(const Fields inner, item.object(special ? "SpecialToken" : "Sequence"));
    LISSOM_TRY(const std::string id, inner.string("id"));
    LISSOM_TRY(const int64_t type, inner.integer("type_id", 0, 0, kMaxId));
    Slot slot{-1, {}, static_cast<int32_t>(type)};
    if (special) {
      const auto it = specials.find(id);
      if (it == specials.end())
        return bad_input(inner.at("id") + ": " + in_quotes(id) + " is not in special_tokens");
      slot.ids = it->second;
    } else {
      if (id != "A" && id != "B")
        return bad_input(inner.at("id") + ": expected \"A\" or \"B\", got " + in_quotes(id));
      slot.sequence = id == "A" ? 0 : 1;
      if (slot.sequence == 1 && field == "single")
        return bad_input(inner.at("id") + ": a template for one sequence uses a second");
    }
    slots.push_back(std::move(slot));
  }
  return slots;
}

Result<PostProcessor> make_template(const Fields& fields) {
  LISSOM_CHECK(fields.only({"single", "pair", "special_tokens"}));
  std::map<std::string, std::vector<int32_t>> specials;
  if (fields.find("special_tokens") != nullptr) {
    LISSOM_TRY(const Fields tokens, fields.object("special_tokens"));
    for (const auto& [name, value] : fields.find("special_tokens")->items()) {
      LISSOM_TRY(const Fields token, fields_of(value, tokens.at(name)));
      LISSOM_CHECK(token.only({"id", "ids", "tokens"}));
      LISSOM_TRY(specials[name], read_ids(token));
    }
  }
  LISSOM_TRY(std::vector<Slot> single, read_template(fields, "single", specials));
  LISSOM_TRY(std::vector<Slot> pair, read_template(fields, "pair", specials));
  return [single, pair](std::vector<Encoding>& sequences, bool add_special) {
    Encoding out;
    for (const Slot& slot : sequences.size() == 2 ? pair : single) {
      if (slot.sequence >= 0) {
        append(out, sequences[static_cast<size_t>(slot.sequence)], slot.type);
      } else if (add_special) {
        append(out, {slot.ids, {}}, slot.type);
      }
    }
    sequences.resize(1);
    sequences[0] = std::move(out);
  };
}

// ---------------------------------------------------------------- BertProcessing, RobertaProcessing

/// ["[SEP]", 102]
Result<int32_t> token_pair(const Fields& fields, std::string_view field) {
  LISSOM_TRY(const Json* pair, fields.array(field));
  if (pair->size() != 2 || !(*pair)[0].is_string() || !(*pair)[1].is_number_integer() || (*pair)[1] < 0 ||
      (*pair)[1] > kMaxId)
    return fields.wrong(field, "a token and its id");
  return (*pair)[1].get<int32_t>();
}

Result<PostProcessor> make_bert(const Fields& fields) {
  LISSOM_CHECK(fields.only({"sep", "cls"}));
  LISSOM_TRY(const int32_t sep, token_pair(fields, "sep"));
  LISSOM_TRY(const int32_t cls, token_pair(fields, "cls"));
  return [sep, cls](std::vector<Encoding>& sequences, bool add_special) {
    if (!add_special) return;
    Encoding out{{cls}, {0}};
    append(out, sequences[0], 0);
    append(out, {{sep}, {0}});
    if (sequences.size() == 2) {
      append(out, sequences[1], 1);
      append(out, {{sep}, {1}});
    }
    sequences.resize(1);
    sequences[0] = std::move(out);
  };
}

Result<PostProcessor> make_roberta(const Fields& fields) {
  LISSOM_CHECK(fields.only({"sep", "cls", "trim_offsets", "add_prefix_space"}));
  LISSOM_TRY(const int32_t sep, token_pair(fields, "sep"));
  LISSOM_TRY(const int32_t cls, token_pair(fields, "cls"));
  return [sep, cls](std::vector<Encoding>& sequences, bool add_special) {
    Encoding out;
    for (size_t i = 0; i < sequences.size(); ++i) {
      if (add_special) append(out, {{i == 0 ? cls : sep}, {0}});
      append(out, sequences[i], 0);  // type ids are zero throughout
      if (add_special) append(out, {{sep}, {0}});
    }
    sequences.resize(1);
    sequences[0] = std::move(out);
  };
}

// ---------------------------------------------------------------- ByteLevel, Sequence

/// Trims offsets, which are not kept here.
Result<PostProcessor> make_byte_level(const Fields& fields) {
  LISSOM_CHECK(fields.only({"add_prefix_space", "trim_offsets", "use_regex"}));
  return PostProcessor{};
}

Result<PostProcessor> make_sequence(const Fields& fields) {
  LISSOM_CHECK(fields.only({"processors"}));
  LISSOM_TRY(const Json* list, fields.array("processors"));
  PostProcessor only;
  for (size_t i = 0; i < list->size(); ++i) {
    const std::string where = fields.at("processors") + "[" + std::to_string(i) + "]";
    LISSOM_TRY(PostProcessor one, make_post_processor((*list)[i], where));
    if (!one) continue;
    if (only) return unsupported(where + ": a second post-processor that adds tokens");
    only = std::move(one);
  }
  return only;
}

struct Kind {
  std::string_view type;
  Result<PostProcessor> (*make)(const Fields& fields);
};
constexpr Kind kKinds[] = {
    {"TemplateProcessing", make_template}, {"BertProcessing", make_bert}, {"RobertaProcessing", make_roberta},
    {"ByteLevel", make_byte_level},        {"Sequence", make_sequence},
};

}  // namespace

Result<PostProcessor> make_post_processor(const Json& json, const std::string& where) {
  if (json.is_null()) return PostProcessor{};
  LISSOM_TRY(const Fields fields, fields_of(json, where));
  LISSOM_TRY(const std::string type, fields.type());
  for (const Kind& kind : kKinds)
    if (kind.type == type) return kind.make(fields);
  return unsupported(fields.at("type") + ": unknown post-processor " + in_quotes(type));
}

}  // namespace lissom::tok
