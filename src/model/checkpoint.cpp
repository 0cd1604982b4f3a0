// open_checkpoint(): a folder, a GGUF or a pack becomes configuration, graph and canonical tensors.

#include <cstring>

#include "base/text.h"
#include "format/hf.h"
#include "format/pack.h"
#include "format/quantized_source.h"
#include "hub/hub.h"
#include "hub/shards.h"
#include "lissom/gguf.h"
#include "lissom/tokenizer.h"
#include "model/arch.h"
#include "model/canonical_source.h"
#include "model/fields.h"

namespace lissom {
namespace {

namespace fs = std::filesystem;

/// GGUF's key for config.json's architectures[0], where general.architecture does not tell it.
constexpr std::string_view kHfArchitecture = "lissom.hf_architecture";

/// sentence-transformers' modules.json names the folder whose config.json says how to pool.
Result<Pooling> read_pooling(const fs::path& folder) {
  const fs::path modules_path = folder / "modules.json";
  std::error_code ignored;
  if (!fs::exists(modules_path, ignored)) return Pooling::none;
  LISSOM_TRY(const Json modules, read_json(modules_path));
  if (!modules.is_array()) return bad_input(modules_path.string() + ": expected a list of modules");
  for (const Json& module : modules) {
    if (!module.is_object() || !module.value("type", Json()).is_string()) continue;
    if (!module["type"].get<std::string>().ends_with("Pooling")) continue;
    const Json path = module.value("path", Json());
    if (!path.is_string() || path.get<std::string>().find("..") != std::string::npos ||
        fs::path(path.get<std::string>()).is_absolute())
      return bad_input(modules_path.string() + ": field 'path' must name a folder inside the model's");
    const fs::path config_path = folder / path.get<std::string>() / "config.json";
    LISSOM_TRY(const Json pooling, read_json(config_path));
    const auto is = [&](const char* key) {
      return pooling.is_object() && pooling.value(key, Json(false)) == Json(true);
    };
    if (is("pooling_mode_mean_tokens")) return Pooling::mean;
    if (is("pooling_mode_cls_token")) return Pooling::cls;
    if (is("pooling_mode_lasttoken")) return Pooling::last;
    return unsupported(config_path.string() + ": only mean, cls and last-token pooling are supported");
  }
  return Pooling::none;
}

}  // namespace

Result<Config> read_hf_config(const Json& json, const Architecture*& arch) {
  if (!json.is_object()) return bad_input("config.json: expected an object");
  const JsonFields f(json);
  std::string name;
  if (const auto list = json.find("architectures"); list != json.end() && !list->is_null()) {
    if (!list->is_array() || list->empty() || !(*list)[0].is_string())
      return bad_input("config.json: field 'architectures' must be a list of names");
    name = (*list)[0].get<std::string>();
  }
  LISSOM_TRY(const std::string type, f.string_or("model_type", ""));
  arch = find_hf_architecture(name, type);
  if (arch == nullptr)
    return tl::unexpected(unknown_architecture(name.empty() ? type : name).within("config.json"));
  LISSOM_TRY(Config config, arch->from_hf(json));
  config.hf_arch = name.empty() ? std::string(arch->hf_architectures[0]) : name;
  LISSOM_CHECK(read_common_hf(f, config));
  LISSOM_TRY(config.name, f.string_or("_name_or_path", ""));
  return config;
}

namespace {

Result<Config> config_of_folder(const fs::path& folder, const Json& json, const Architecture*& arch) {
  LISSOM_TRY(Config config, read_hf_config(json, arch));
  if (!config.causal && config.labels.empty()) {
    LISSOM_TRY(config.pooling, read_pooling(folder));
  }
  return config;
}

std::string display_name(const Config& config, const fs::path& path) {
  if (!config.name.empty()) return fs::path(config.name).filename().string();
  return hub::display_name_of(path);
}

Result<Checkpoint> open_folder(const fs::path& folder, const OpenOptions& options,
                               const std::shared_ptr<hub::RemoteWeights>& remote, const Progress& progress) {
  Checkpoint c;
  c.path = folder;
  const Architecture* arch = nullptr;
  LISSOM_TRY(const Json json, read_json(folder / "config.json"));
  LISSOM_TRY(c.config, config_of_folder(folder, json, arch));
  LISSOM_TRY(c.graph, arch->build(c.config));
  LISSOM_TRY(auto weights, open_hf_weights(folder));
  if (remote) {
    LISSOM_TRY(c.shards, hub::Shards::create(std::move(*remote), std::move(weights), folder, progress));
    weights = c.shards;
  }
  if (const auto quantized = json.find("quantization_config");
      quantized != json.end() && !quantized->is_null()) {
    LISSOM_TRY(weights, dequantized_view(std::move(weights), *quantized));
  }
  LISSOM_TRY(c.tensors, canonical_view(std::move(weights), c.graph, *arch, c.config));
  auto metadata = std::make_shared<GgufMetadata>();
  metadata->set("general.type", std::string("model"));
  metadata->set("general.name", display_name(c.config, folder));
  if (options.need_tokenizer) {
    LISSOM_TRY(const GgufMetadata vocabulary, gguf_vocabulary(folder, c.config.vocab));
    for (const auto& [key, value] : vocabulary.entries()) metadata->set(key, value);
  }
  c.metadata = std::move(metadata);
  return c;
}

/// What a GGUF's configuration leaves to its tensors.
void complete_from_tensors(const TensorSource& tensors, Config& config) {
  if (const int64_t table = tensors.find("token_embd.weight"); table >= 0)
    config.vocab = tensors.tensors()[static_cast<size_t>(table)].shape[0];
  config.tied_embeddings = config.causal && tensors.find("output.weight") < 0;
  config.attention_bias = config.attention_bias || tensors.find("blk.0.attn_q.bias") >= 0;
  if (tensors.find("token_types.weight") < 0) config.token_types = 0;
  config.mlp_bias = config.mlp_bias || tensors.find("blk.0.ffn_up.bias") >= 0;
}

/// The divisors in tensor `name`, one for each rotated pair; empty where it is absent.
Result<std::vector<float>> read_divisors(const TensorSource& tensors, std::string_view name,
                                         const Config& config) {
  std::vector<float> divisors;
  const int64_t at = tensors.find(name);
  if (at < 0) return divisors;
  const std::string where = tensors.origin() + ": tensor " + in_quotes(name);
  LISSOM_TRY(const TensorView view, tensors.read(static_cast<size_t>(at)));
  divisors.resize(static_cast<size_t>(config.rope.dim / 2));
  if (view.info.type != "F32" || view.data.size() != divisors.size() * sizeof(float))
    return bad_input(where + " must be " + std::to_string(divisors.size()) + " values of F32");
  std::memcpy(divisors.data(), view.data.data(), view.data.size());
  for (float d : divisors)
    if (!(d > 0)) return bad_input(where + " must be positive");
  return divisors;
}

Result<void> read_rope_tensors(const TensorSource& tensors, Config& config) {
  Rope& rope = config.rope;
  LISSOM_TRY(rope.inv_freq_divisor, read_divisors(tensors, kRopeFreqs, config));
  LISSOM_TRY(rope.short_divisor, read_divisors(tensors, kRopeShort, config));
  LISSOM_TRY(rope.long_divisor, read_divisors(tensors, kRopeLong, config));
  if (rope.short_divisor.size() != rope.long_divisor.size())
    return bad_input(tensors.origin() + ": only one of the tensors " + in_quotes(kRopeShort) + " and " +
                     in_quotes(kRopeLong) + " is there");
  if (!rope.long_divisor.empty()) rope.scaling = RopeScaling::longrope;
  return {};
}

/// A file that has canonical tensors, and GGUF's metadata of them: a GGUF or a pack.
template <class File>
Result<Checkpoint> open_canonical(const fs::path& path) {
  LISSOM_TRY(const auto file, File::open(path));
  const GgufMetadata& metadata = file->metadata();
  LISSOM_TRY(const std::string name, metadata.string("general.architecture"));
  const Architecture* arch = find_architecture(name);
  // Several of Hugging Face's share one of GGUF's.
  const auto* original = find_hf_architecture(metadata.string_or(kHfArchitecture, "none"), "");
  if (original != nullptr && original->name == name) arch = original;
  if (arch == nullptr) return tl::unexpected(unknown_architecture(name).within("key 'general.architecture'"));
  Checkpoint c;
  c.path = path;
  c.from_gguf = true;
  LISSOM_TRY(c.config, arch->from_gguf(metadata));
  if (c.config.hf_arch.empty()) c.config.hf_arch = arch->hf_architectures[0];
  c.config.name = metadata.string_or("general.name", "");
  c.config.bos = metadata.integer_or("tokenizer.ggml.bos_token_id", -1);
  c.config.pad = metadata.integer_or("tokenizer.ggml.padding_token_id", -1);
  if (const int64_t eos = metadata.integer_or("tokenizer.ggml.eos_token_id", -1); eos >= 0)
    c.config.eos = {eos};
  complete_from_tensors(*file, c.config);
  if (c.config.vocab < 1 || c.config.vocab > kVocab.high)
    return bad_input("tensor 'token_embd.weight' is missing or has an absurd number of rows");
  LISSOM_CHECK(read_rope_tensors(*file, c.config));
  LISSOM_TRY(c.graph, arch->build(c.config));
  LISSOM_CHECK(check_tensors(*file, c.graph));
  c.metadata = std::shared_ptr<const GgufMetadata>(file, &metadata);
  c.tensors = file;
  return c;
}

}  // namespace

Result<Checkpoint> open_checkpoint(const std::string& model, const OpenOptions& options,
                                   const Progress& progress) {
  hub::FindOptions wanted{.revision = options.revision, .disk = options.disk};
  std::shared_ptr<hub::RemoteWeights> remote;
  if (options.stream) wanted.weights = &remote;
  LISSOM_TRY(const ModelPath where, hub::find_model(model, wanted, progress));
  auto opened = where.kind == ModelKind::gguf   ? open_canonical<GgufFile>(where.path)
                : where.kind == ModelKind::pack ? open_canonical<PackFile>(where.path)
                                                : open_folder(where.path, options, remote, progress);
  if (!opened && opened.error().message.find(where.path.string()) == std::string::npos)
    return tl::unexpected(opened.error().within(where.path.string()));
  return opened;
}

Result<GgufMetadata> gguf_header(const Checkpoint& checkpoint) {
  const Architecture* arch = architecture_of(checkpoint.config);
  if (arch == nullptr) return unsupported("architecture '" + checkpoint.config.arch + "' has no form in GGUF");
  if (arch->fits_gguf != nullptr) LISSOM_CHECK(arch->fits_gguf(checkpoint.config));
  GgufMetadata header;
  header.set("general.architecture", checkpoint.config.arch);
  for (const auto& [key, value] : checkpoint.metadata->entries()) header.set(key, value);
  header.set("general.architecture", checkpoint.config.arch);
  if (arch != find_architecture(checkpoint.config.arch))
    header.set(std::string(kHfArchitecture), checkpoint.config.hf_arch);
  arch->to_gguf(checkpoint.config, header);
  return header;
}

}  // namespace lissom
