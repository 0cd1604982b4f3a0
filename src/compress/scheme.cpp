#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <filesystem>
#include <set>
#include <sstream>

#include "base/file.h"
#include "codec/family.h"
#include "compress/builtin_schemes.h"
#include "compress/layers.h"
#include "compress/pack.h"
#include "compress/pattern.h"
#include "lissom/codec.h"
#include "lissom/compress.h"

namespace lissom {
namespace {

constexpr size_t kMaxText = 256U << 10;
constexpr size_t kMaxRules = 4096;
constexpr size_t kMaxString = 4096;
constexpr int kMaxDepth = 8;

struct Refused {
  YAML::Mark mark;
  std::string what;
};

/// Sees the events before any tree is built: what no scheme needs is refused here, so that neither nesting nor
/// aliases can make the tree larger than the text.
class Gate : public YAML::EventHandler {
 public:
  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents_ > 1) throw Refused{mark, "a scheme is one document"};
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    throw Refused{mark, "aliases are not allowed"};
  }
  void OnScalar(const YAML::Mark& mark, const std::string&, YAML::anchor_t, const std::string& value) override {
    if (value.size() > kMaxString) throw Refused{mark, "a value is longer than 4096 bytes"};
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {
    enter(mark);
  }
  void OnSequenceEnd() override { --depth_; }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {
    enter(mark);
  }
  void OnMapEnd() override { --depth_; }

 private:
  void enter(const YAML::Mark& mark) {
    if (++depth_ > kMaxDepth) throw Refused{mark, "nested too deeply"};
  }
  int depth_ = 0, documents_ = 0;
};

/// A node with its place, for errors.
struct Field {
  YAML::Node node;
  std::string path;
  const std::string* origin;

  [[nodiscard]] tl::unexpected<Error> error(const std::string& what) const {
    const int line = node.Mark().line;
    const std::string place = line >= 0 ? fmt::format("{}:{}", *origin, line + 1) : *origin;
    return bad_input(path.empty() ? fmt::format("{}: {}", place, what)
                                  : fmt::format("{}: {}: {}", place, path, what));
  }
  [[nodiscard]] Field at(const YAML::Node& child, const std::string& key) const {
    return {child, path.empty() ? key : path + "." + key, origin};
  }
};

using Members = std::vector<std::pair<std::string, Field>>;

Result<Members> members(const Field& map, std::initializer_list<std::string_view> known) {
  if (!map.node.IsMap()) return map.error("expected a map");
  Members out;
  std::set<std::string> seen;
  for (const auto& item : map.node) {
    if (!item.first.IsScalar()) return map.error("a key that is not a word");
    const std::string& key = item.first.Scalar();
    const Field field = map.at(item.second, key);
    if (!seen.insert(key).second) return field.error("given twice");
    if (known.size() != 0 && std::ranges::find(known, key) == known.end()) {
      std::string list;
      for (std::string_view k : known) list += (list.empty() ? "" : ", ") + std::string(k);
      return field.error("unknown field; known: " + list);
    }
    out.emplace_back(key, field);
  }
  return out;
}

Result<std::string> text_of(const Field& field) {
  if (!field.node.IsScalar()) return field.error("expected a string");
  return field.node.Scalar();
}

Result<int64_t> integer_of(const Field& field, int64_t low, int64_t high) {
  LISSOM_TRY(const std::string text, text_of(field));
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < low || value > high)
    return field.error("expected a whole number from " + std::to_string(low) + " to " + std::to_string(high));
  return value;
}

Result<bool> boolean_of(const Field& field) {
  LISSOM_TRY(const std::string text, text_of(field));
  if (text == "true") return true;
  if (text == "false") return false;
  return field.error("expected true or false");
}

Result<std::string> codec_of(const Field& field) {
  LISSOM_TRY(std::string text, text_of(field));
  const auto found = codec_named(text);
  if (found) return text;
  if (text.find(':') != std::string::npos) return field.error(found.error().message);
  std::string list;
  for (const Codec* codec : codecs()) list += (list.empty() ? "" : ", ") + std::string(codec->name());
  for (const CodecFamily* family : codec_families()) list += ", " + std::string(family->name());
  return field.error("unknown codec '" + text + "'; known: " + list);
}

Result<Scheme::When> parse_when(const Field& field) {
  LISSOM_TRY(const Members items, members(field, {"imatrix", "tied", "min_gqa", "layer_count", "arch"}));
  Scheme::When when;
  for (const auto& [key, value] : items) {
    if (key == "imatrix") {
      LISSOM_TRY(when.imatrix, boolean_of(value));
    } else if (key == "tied") {
      LISSOM_TRY(when.tied, boolean_of(value));
    } else if (key == "min_gqa") {
      LISSOM_TRY(when.min_gqa, integer_of(value, 1, 1 << 20));
    } else if (key == "layer_count") {
      LISSOM_TRY(when.layer_count, integer_of(value, 1, 1 << 20));
    } else {
      if (!value.node.IsSequence()) return value.error("expected a list of architectures");
      for (const YAML::Node& name : value.node) {
        LISSOM_TRY(when.arch.emplace_back(), text_of(value.at(name, "")));
      }
    }
  }
  return when;
}

Result<Scheme::Rule> parse_rule(const Field& field) {
  LISSOM_TRY(const Members items, members(field, {"match", "codec", "otherwise", "layers", "when"}));
  Scheme::Rule rule;
  for (const auto& [key, value] : items) {
    if (key == "match") {
      LISSOM_TRY(rule.match, text_of(value));
      const auto compiled = Pattern::compile(rule.match);
      if (!compiled) return value.error(compiled.error().message);
    } else if (key == "codec") {
      LISSOM_TRY(rule.codec, codec_of(value));
    } else if (key == "otherwise") {
      LISSOM_TRY(rule.otherwise, codec_of(value));
    } else if (key == "layers") {
      LISSOM_TRY(rule.layers, text_of(value));
      const auto selector = LayerSelector::parse(rule.layers);
      if (!selector) return value.error(selector.error().message);
    } else {
      LISSOM_TRY(rule.when, parse_when(value));
    }
  }
  if (rule.match.empty()) return field.error("needs match: a regular expression over tensor names");
  if (rule.codec.empty()) return field.error("needs codec");
  return rule;
}

Result<void> parse_fallback(const Field& field, std::map<std::string, std::string>& fallback) {
  LISSOM_TRY(const Members items, members(field, {}));
  for (const auto& [key, value] : items) {
    const Codec* from = find_codec(key);
    if (from == nullptr) return value.error("unknown codec '" + key + "'");
    LISSOM_TRY(const std::string to, codec_of(value));
    if (find_codec(to)->column_multiple() >= from->column_multiple())
      return value.error(fmt::format("{} divides no more columns than {} does", to, key));
    fallback[key] = to;
  }
  return {};
}

Result<void> inherit(const Field& field, Scheme& scheme) {
  LISSOM_TRY(const std::string name, text_of(field));
  const auto base = builtin_scheme(name);
  if (!base) return field.error(base.error().message);
  scheme = *base;
  scheme.name.clear();
  scheme.selectable = false;
  scheme.file_type = -1;
  return {};
}

Result<Scheme> parse_fields(const Field& root) {
  LISSOM_TRY(const Members items,
             members(root, {"name", "description", "base", "default", "tensors", "fallback", "file_type",
                            "keep_smaller", "selectable", "needs_imatrix"}));
  Scheme scheme;
  for (const auto& [key, value] : items)
    if (key == "base") LISSOM_CHECK(inherit(value, scheme));
  std::vector<Scheme::Rule> rules;
  for (const auto& [key, value] : items) {
    if (key == "name") {
      LISSOM_TRY(scheme.name, text_of(value));
    } else if (key == "description") {
      LISSOM_TRY(scheme.description, text_of(value));
    } else if (key == "default") {
      LISSOM_TRY(scheme.default_codec, codec_of(value));
    } else if (key == "file_type") {
      LISSOM_TRY(scheme.file_type, integer_of(value, 0, 1023));
    } else if (key == "keep_smaller") {
      LISSOM_TRY(scheme.keep_smaller, boolean_of(value));
    } else if (key == "selectable") {
      LISSOM_TRY(scheme.selectable, boolean_of(value));
    } else if (key == "needs_imatrix") {
      if (!value.node.IsSequence()) return value.error("expected a list of codecs");
      scheme.needs_imatrix.clear();
      for (const YAML::Node& name : value.node) {
        LISSOM_TRY(scheme.needs_imatrix.emplace_back(), codec_of(value.at(name, "")));
      }
    } else if (key == "fallback") {
      LISSOM_CHECK(parse_fallback(value, scheme.fallback));
    } else if (key == "tensors") {
      if (!value.node.IsSequence()) return value.error("expected a list of {match, codec}");
      if (value.node.size() > kMaxRules) return value.error("more than 4096 rules");
      for (const YAML::Node& item : value.node) {
        const Field field{item, "tensors[" + std::to_string(rules.size()) + "]", value.origin};
        LISSOM_TRY(rules.emplace_back(), parse_rule(field));
      }
    }
  }
  if (scheme.default_codec.empty())
    return root.error("needs default: the codec of tensors that no rule matches");
  if (std::ranges::none_of(items, [](const auto& i) { return i.first == "fallback" || i.first == "base"; }) &&
      find_codec(scheme.default_codec)->column_multiple() > 1) {
    LISSOM_TRY(scheme.fallback, builtin_scheme("Q4_K_M").map([](const Scheme& s) { return s.fallback; }));
  }
  scheme.tensors.insert(scheme.tensors.begin(), rules.begin(), rules.end());
  return scheme;
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

std::string printable(const std::string& text) {
  std::string out;
  for (const char c : text) out += static_cast<unsigned char>(c) < 0x20 ? '?' : c;
  return out.size() > 200 ? out.substr(0, 200) + "…" : out;
}

}  // namespace

Result<Scheme> parse_scheme(const std::string& yaml, const std::string& origin) {
  if (yaml.size() > kMaxText) return bad_input(origin + ": larger than 256 KiB, which no scheme is");
  const auto at = [&](const YAML::Mark& mark, const std::string& what) {
    return bad_input(origin + ":" + std::to_string(mark.line + 1) + ": " + printable(what));
  };
  try {
    std::istringstream stream(yaml);
    YAML::Parser parser(stream);
    Gate gate;
    while (parser.HandleNextDocument(gate)) {
    }
    Field root{YAML::Load(yaml), "", &origin};
    LISSOM_TRY(Scheme scheme, parse_fields(root));
    if (scheme.name.empty()) scheme.name = std::filesystem::path(origin).stem().string();
    return scheme;
  } catch (const Refused& refused) {
    return at(refused.mark, refused.what);
  } catch (const YAML::Exception& e) {
    return at(e.mark, e.msg);
  } catch (const std::exception& e) {
    return bad_input(origin + ": " + printable(e.what()));
  }
}

std::vector<std::string> scheme_names() {
  std::vector<std::string> names;
  for (const BuiltinScheme& scheme : builtin_schemes()) names.emplace_back(scheme.name);
  return names;
}

Result<Scheme> builtin_scheme(const std::string& name) {
  // llama-quantize's short names: Q4_K stands for Q4_K_M.
  for (const std::string& wanted : {lower(name), lower(name) + "_m"})
    for (const BuiltinScheme& scheme : builtin_schemes())
      if (lower(scheme.name) == wanted)
        return parse_scheme(std::string(scheme.yaml), std::string(scheme.name) + ".yaml");
  std::string list;
  for (const BuiltinScheme& scheme : builtin_schemes())
    list += (list.empty() ? "" : ", ") + std::string(scheme.name);
  return bad_input("unknown scheme '" + printable(name) + "'; known: " + list + "; or a YAML file");
}

namespace {

/// What no built-in scheme is called: a file.
Result<Scheme> scheme_or_file(Result<Scheme> builtin, const std::string& name_or_path) {
  if (builtin) return builtin;
  const std::filesystem::path path(name_or_path);
  std::error_code code;
  const bool looks_like_file =
      path.has_parent_path() || path.extension() == ".yaml" || path.extension() == ".yml";
  if (!looks_like_file && !std::filesystem::exists(path, code)) return builtin;
  LISSOM_TRY(const std::string text, read_file(path, kMaxText));
  return parse_scheme(text, path.string());
}

}  // namespace

Result<Scheme> find_scheme(const std::string& name_or_path) {
  return scheme_or_file(builtin_scheme(name_or_path), name_or_path);
}

std::vector<std::string> pack_scheme_names() {
  std::vector<std::string> names;
  for (const BuiltinScheme& scheme : builtin_pack_schemes()) names.emplace_back(scheme.name);
  return names;
}

Result<Scheme> find_pack_scheme(const std::string& name_or_path) {
  for (const BuiltinScheme& scheme : builtin_pack_schemes())
    if (lower(scheme.name) == lower(name_or_path))
      return parse_scheme(std::string(scheme.yaml), "pack/" + std::string(scheme.name) + ".yaml");
  auto found = scheme_or_file(builtin_scheme(name_or_path), name_or_path);
  if (found || found.error().message.find("unknown scheme") == std::string::npos) return found;
  std::string list;
  for (const std::string& name : pack_scheme_names()) list += (list.empty() ? "" : ", ") + name;
  return bad_input(found.error().message + "; of packs: " + list);
}

}  // namespace lissom
