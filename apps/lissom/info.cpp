// `lissom info MODEL`: what a file or folder holds, from its format alone, so that a model of an unknown
// architecture or with types that nothing here decodes is described too.

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/text.h"
#include "command.h"
#include "console.h"
#include "format/json.h"
#include "format/pack.h"
#include "format/quantized_source.h"
#include "format/safetensors.h"
#include "hub/hub.h"
#include "lissom/gguf.h"
#include "table.h"
#include "verbs.h"

namespace lissom::cli {
namespace {

namespace fs = std::filesystem;
using OrderedJson = nlohmann::ordered_json;

struct Description {
  std::string path, kind, architecture, name;
  std::vector<fs::path> files;
  OrderedJson metadata = OrderedJson::object();
  std::shared_ptr<const TensorSource> tensors;
  std::string
      quantized;  ///< quant_method of a folder whose layers are read: one tensor each, and its stored bytes
  /// Why elements are not weights: a checkpoint that packs several weights into one integer.
  std::string packed;
};

// ---------------------------------------------------------------- metadata as JSON

constexpr size_t kWholeArray = 64;  // longer ones show their length and beginning
constexpr size_t kArrayHead = 4;

OrderedJson to_json(const GgufValue& value);

/// A float by its shortest text, so that 1e-5 does not read 9.999999747378752e-06.
template <class T>
OrderedJson to_json(const T& item) {
  if constexpr (std::is_same_v<T, float>)
    return std::isfinite(item) ? OrderedJson(std::stod(fmt::format("{}", item))) : OrderedJson(nullptr);
  else
    return item;
}

OrderedJson to_json(const GgufArray& array) {
  return std::visit(
      [](const auto& items) {
        const bool whole = items.size() <= kWholeArray;
        OrderedJson head = OrderedJson::array();
        for (size_t i = 0; i < (whole ? items.size() : kArrayHead); ++i) {
          using T = typename std::decay_t<decltype(items)>::value_type;
          if constexpr (std::is_same_v<T, std::shared_ptr<GgufArray>>)
            head.push_back(to_json(*items[i]));
          else
            head.push_back(to_json<T>(items[i]));
        }
        return whole ? head : OrderedJson{{"length", items.size()}, {"first", std::move(head)}};
      },
      array.items);
}

OrderedJson to_json(const GgufValue& value) {
  return std::visit(
      [](const auto& v) -> OrderedJson {
        if constexpr (std::is_same_v<std::decay_t<decltype(v)>, std::shared_ptr<GgufArray>>)
          return to_json(*v);
        else
          return to_json<std::decay_t<decltype(v)>>(v);
      },
      value);
}

// ---------------------------------------------------------------- opening

Result<Description> describe_gguf(const fs::path& path) {
  LISSOM_TRY(const auto file, GgufFile::open(path));
  Description d{path.string(), "GGUF", "", "", file->files(), {}, file, "", ""};
  d.architecture = file->metadata().string_or("general.architecture", "");
  d.name = file->metadata().string_or("general.name", "");
  for (const auto& [key, value] : file->metadata().entries()) d.metadata[key] = to_json(value);
  return d;
}

Result<Description> describe_pack(const fs::path& path) {
  LISSOM_TRY(const auto file, PackFile::open(path));
  Description d{path.string(), "lissom pack", "", "", {path}, {}, file, "", ""};
  d.architecture = file->metadata().string_or("general.architecture", "");
  d.name = file->metadata().string_or("general.name", "");
  for (const auto& [key, value] : file->metadata().entries()) d.metadata[key] = to_json(value);
  return d;
}

Result<Description> describe_safetensors(const fs::path& path) {
  LISSOM_TRY(const auto file, SafetensorsFile::open(path));
  Description d{path.string(), "safetensors", "", "", file->files(), {}, file, "", ""};
  for (const auto& [key, value] : file->metadata()) d.metadata[key] = value;
  return d;
}

Result<Description> describe_folder(const fs::path& folder) {
  LISSOM_TRY(const auto weights, open_hf_weights(folder));
  LISSOM_TRY(const Json config, read_json(folder / "config.json"));
  if (!config.is_object()) return bad_input((folder / "config.json").string() + ": is not an object");
  Description d{folder.string(), "Hugging Face folder", "", "", {}, {}, weights, "", ""};
  if (const auto* file = dynamic_cast<const SafetensorsFile*>(weights.get())) d.files = file->files();
  d.metadata = OrderedJson(config);
  if (const auto list = config.find("architectures");
      list != config.end() && list->is_array() && !list->empty() && list->front().is_string())
    d.architecture = list->front().get<std::string>();
  else if (const auto type = config.find("model_type"); type != config.end() && type->is_string())
    d.architecture = type->get<std::string>();
  if (const auto q = config.find("quantization_config"); q != config.end() && q->is_object()) {
    const auto method = q->find("quant_method");
    const std::string name = method != q->end() && method->is_string() ? method->get<std::string>() : "";
    if (auto view = dequantized_view(weights, *q)) {
      d.tensors = std::move(*view);
      d.quantized = name;
    } else {
      d.packed = name.empty() ? "an unnamed method" : name;
    }
  }
  return d;
}

Result<Description> describe(const std::string& model, const std::string& revision) {
  const fs::path path(model);
  std::error_code ignored;
  if (fs::is_regular_file(path, ignored)) {
    if (path.extension() == ".safetensors" && is_pack(path)) return describe_pack(path);
    if (path.extension() == ".safetensors" || model.ends_with(".safetensors.index.json"))
      return describe_safetensors(path);
    if (path.extension() == ".gguf") return describe_gguf(path);
  }
  LISSOM_TRY(
      const ModelPath resolved,
      hub::find_model(model, {.revision = revision, .need = hub::Need::headers}, console_progress(false)));
  end_progress();
  return resolved.kind == ModelKind::gguf ? describe_gguf(resolved.path) : describe_folder(resolved.path);
}

// ---------------------------------------------------------------- counting

/// The tensors as they lie in the file; of a quantized layer, its parts together.
std::vector<TensorInfo> stored_tensors(const Description& d) {
  std::vector<TensorInfo> list(d.tensors->tensors().begin(), d.tensors->tensors().end());
  if (d.quantized.empty()) return list;
  for (size_t i = 0; i < list.size(); ++i) {
    const uint64_t stored = stored_bytes(*d.tensors, i);
    if (stored == list[i].bytes) continue;
    list[i].type = d.quantized;
    list[i].bytes = stored;
  }
  return list;
}

/// Integers are positions, masks or codes: their bytes count, but they are no weights.
bool holds_weights(std::string_view type) {
  constexpr std::array<std::string_view, 9> kIntegers{"I8",  "I16", "I32", "I64", "U8",
                                                      "U16", "U32", "U64", "BOOL"};
  return std::ranges::find(kIntegers, type) == kIntegers.end();
}

struct Count {
  uint64_t tensors = 0, weights = 0, bytes = 0;
  void add(const TensorInfo& t) {
    ++tensors;
    bytes += t.bytes;
    if (holds_weights(t.type)) weights += static_cast<uint64_t>(t.shape.elements());
  }
  /// All bytes over all weights; nothing where there are no weights.
  [[nodiscard]] std::optional<double> bits() const {
    if (weights == 0) return std::nullopt;
    return 8.0 * static_cast<double>(bytes) / static_cast<double>(weights);
  }
};

OrderedJson bits_json(const Count& count, bool packed) {
  const auto bits = count.bits();
  return bits && !packed ? OrderedJson(*bits) : OrderedJson(nullptr);
}
std::string bits_text(const Count& count) {
  const auto bits = count.bits();
  return bits ? fmt::format("{:.4g}", *bits) : "";
}

struct Totals {
  Count all;
  std::map<std::string, Count> types;
  uint64_t file_bytes = 0;
};

Totals count(const Description& d) {
  Totals totals;
  for (const TensorInfo& t : stored_tensors(d)) {
    totals.all.add(t);
    totals.types[t.type].add(t);
  }
  for (const fs::path& file : d.files) {
    std::error_code error;
    const auto size = fs::file_size(file, error);
    if (!error) totals.file_bytes += size;
  }
  return totals;
}

/// Most bytes first.
std::vector<std::pair<std::string, Count>> by_size(const Totals& totals) {
  std::vector<std::pair<std::string, Count>> types(totals.types.begin(), totals.types.end());
  std::ranges::stable_sort(types, [](const auto& a, const auto& b) { return a.second.bytes > b.second.bytes; });
  return types;
}

// ---------------------------------------------------------------- output

void print_json(const Description& d, bool list_tensors) {
  const Totals totals = count(d);
  const bool packed = !d.packed.empty();
  OrderedJson out{{"path", d.path},
                  {"kind", d.kind},
                  {"architecture", d.architecture},
                  {"name", d.name},
                  {"files", OrderedJson::array()},
                  {"file_bytes", totals.file_bytes},
                  {"tensor_count", totals.all.tensors},
                  {"parameters", totals.all.weights},
                  {"tensor_bytes", totals.all.bytes},
                  {"bits_per_weight", bits_json(totals.all, packed)},
                  {"types", OrderedJson::array()}};
  if (packed || !d.quantized.empty()) out["packed_by"] = packed ? d.packed : d.quantized;
  for (const fs::path& file : d.files) out["files"].push_back(file.string());
  for (const auto& [type, c] : by_size(totals))
    out["types"].push_back({{"type", type},
                            {"tensors", c.tensors},
                            {"parameters", c.weights},
                            {"bytes", c.bytes},
                            {"bits_per_weight", bits_json(c, false)}});
  out["metadata"] = d.metadata;
  if (list_tensors) {
    OrderedJson& list = out["tensors"] = OrderedJson::array();
    for (const TensorInfo& t : stored_tensors(d)) {
      Count c;
      c.add(t);
      list.push_back({{"name", t.name},
                      {"type", t.type},
                      {"shape", t.shape.dims()},
                      {"bytes", t.bytes},
                      {"bits_per_weight", bits_json(c, false)}});
    }
  }
  // Token strings and chat templates need not be UTF-8; JSON must be.
  fmt::print("{}\n", out.dump(2, ' ', false, OrderedJson::error_handler_t::replace));
}

/// One line for a value of the metadata.
std::string preview(const OrderedJson& value) {
  constexpr size_t kWidth = 80;
  if (value.is_string()) return printable(value.get_ref<const std::string&>(), kWidth);
  if (value.is_object() && value.size() == 2 && value.contains("length") && value.contains("first"))
    return printable(fmt::format("{} items: {}", value["length"].get<uint64_t>(),
                                 value["first"].dump(-1, ' ', false, OrderedJson::error_handler_t::replace)),
                     kWidth);
  return printable(value.dump(-1, ' ', false, OrderedJson::error_handler_t::replace), kWidth);
}

void print_summary(const Description& d, const Totals& totals) {
  Table table({{}, {}});
  table.row({"path", printable(d.path)});
  table.row({"kind", d.files.size() > 1 ? fmt::format("{}, {} files", d.kind, d.files.size()) : d.kind});
  if (!d.architecture.empty()) table.row({"architecture", printable(d.architecture, 100)});
  if (!d.name.empty()) table.row({"name", printable(d.name, 100)});
  table.row({"parameters", fmt::format("{} ({})", human_count(totals.all.weights), totals.all.weights)});
  table.row({"tensors", fmt::format("{} in {}", totals.all.tensors, human_bytes(totals.all.bytes))});
  table.row({"file size", human_bytes(totals.file_bytes)});
  if (d.packed.empty())
    table.row({"bits/weight", bits_text(totals.all)});
  else
    table.row({"bits/weight",
               fmt::format("not counted: {} packs several weights into an integer", printable(d.packed, 40))});
  fmt::print("{}", table.str());
}

void print_tables(const Description& d, bool list_tensors) {
  const Totals totals = count(d);
  print_summary(d, totals);
  constexpr auto kRight = Table::Align::right;
  Table types(
      {{"type"}, {"tensors", kRight}, {"parameters", kRight}, {"bytes", kRight}, {"bits/weight", kRight}});
  for (const auto& [type, c] : by_size(totals))
    types.row({type, std::to_string(c.tensors), human_count(c.weights), human_bytes(c.bytes), bits_text(c)});
  fmt::print("\n{}", types.str());
  if (!d.metadata.empty()) {
    Table keys({{"key"}, {"value"}});
    for (const auto& [key, value] : d.metadata.items()) keys.row({printable(key, 80), preview(value)});
    fmt::print("\n{}", keys.str());
  }
  if (!list_tensors) return;
  Table list({{"tensor"}, {"type"}, {"shape"}, {"bytes", kRight}, {"bits/weight", kRight}});
  for (const TensorInfo& t : stored_tensors(d)) {
    Count c;
    c.add(t);
    list.row({printable(t.name, 200), t.type, t.shape.str(), std::to_string(t.bytes), bits_text(c)});
  }
  fmt::print("\n{}", list.str());
}

struct Options {
  std::string model, revision;
  bool tensors = false, json = false;
};

}  // namespace

void add_info(CLI::App& app, int& exit_code) {
  Command verb(app, "info", "What a model file or folder holds, and its bits per weight");
  verb.footer(
      "Bits per weight counts every byte of every tensor, scales and all, over the number of weights.\n\n"
      "Example:\n  lissom info model.gguf --tensors");
  auto options = std::make_shared<Options>();
  verb.option("MODEL", options->model,
              "a .gguf or .safetensors file, a Hugging Face folder, or org/name on the Hugging Face hub")
      .required();
  verb.option("--revision", options->revision, kRevisionHelp);
  verb.flag("--tensors", options->tensors, "list every tensor");
  verb.flag("--json", options->json, "print one JSON object");
  verb.action([&exit_code, options] {
    const auto description = describe(options->model, options->revision);
    if (!description) {
      exit_code = fail(description.error());
      return;
    }
    if (options->json)
      print_json(*description, options->tensors);
    else
      print_tables(*description, options->tensors);
    exit_code = 0;
  });
}

}  // namespace lissom::cli
