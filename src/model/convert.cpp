// Between Hugging Face folders and GGUF, a tensor at a time.

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/file.h"
#include "base/text.h"
#include "format/safetensors.h"
#include "lissom/codec.h"
#include "lissom/gguf.h"
#include "lissom/tokenizer.h"
#include "model/arch.h"
#include "model/canonical_source.h"
#include "model/fields.h"

namespace lissom {
namespace {

namespace fs = std::filesystem;

bool is_plain_float(std::string_view type) {
  return type == "F32" || type == "F16" || type == "BF16";
}

/// The type that a weight is written as. Norms, biases and position tables stay F32 in GGUF: llama.cpp insists.
std::string written_type(const Weight& weight, const std::string& from, const std::string& wanted,
                         bool to_gguf) {
  const bool matrix = weight.role == WeightRole::linear || weight.role == WeightRole::embedding;
  if (to_gguf && (!matrix || weight.shape.rank() < 2)) return "F32";
  if (wanted != "keep") return wanted;
  return is_plain_float(from) ? from : "F32";
}

Result<std::vector<float>> decode(const TensorView& view) {
  const Codec* codec = find_codec(view.info.type);
  if (codec == nullptr)
    return unsupported("tensor " + in_quotes(view.info.name) + " has type " + view.info.type +
                       ", which is not one of floating-point weights that are known here");
  std::vector<float> values(static_cast<size_t>(view.info.shape.elements()));
  const std::span<const std::byte> parts[] = {view.data};
  codec->decode_rows(view.info.shape, parts, 0, view.info.shape.rows(), values.data());
  return values;
}

Result<std::vector<std::byte>> encode(const std::string& name, const std::string& type, const Shape& shape,
                                      std::span<const float> values) {
  LISSOM_TRY(auto parts, encode_checked(*find_codec(type), name, shape, values, {}));
  return std::move(parts[0]);
}

Result<void> write_gguf(const Checkpoint& c, const fs::path& out, const ConvertOptions& options,
                        const Progress& progress) {
  LISSOM_TRY(GgufMetadata header, gguf_header(c));
  std::vector<TensorInfo> directory;
  const auto list = c.tensors->tensors();
  int64_t halves = 0, brains = 0;
  for (const TensorInfo& t : list) {
    const Weight& w = c.graph.weights[static_cast<size_t>(c.graph.find_weight(t.name))];
    directory.push_back({t.name, written_type(w, t.type, options.type, true), t.shape, 0});
    halves += directory.back().type == "F16";
    brains += directory.back().type == "BF16";
  }
  // general.file_type: mostly F16 = 1, mostly BF16 = 32, all F32 = 0.
  header.set("general.file_type", uint32_t(brains > halves ? 32 : halves > 0 ? 1 : 0));
  header.set("general.quantization_version", uint32_t{2});
  LISSOM_TRY(auto writer, GgufWriter::create(out, header, directory, {}));
  for (size_t i = 0; i < list.size(); ++i) {
    if (progress.stop_requested()) return tl::unexpected(Error{ErrorKind::cancelled, "stopped"});
    progress.report("convert", static_cast<int64_t>(i), static_cast<int64_t>(list.size()), list[i].name);
    LISSOM_TRY(const TensorView view, c.tensors->read(i));
    if (view.info.type == directory[i].type) {
      LISSOM_CHECK(writer->append(view.data));
    } else {
      LISSOM_TRY(const auto values, decode(view));
      LISSOM_TRY(const auto bytes, encode(list[i].name, directory[i].type, list[i].shape, values));
      LISSOM_CHECK(writer->append(bytes));
    }
    c.tensors->release(i);
  }
  return writer->finish();
}

/// llama3's parameters from the divisors that GGUF stores in their place: the values that are in use are tried.
Result<void> recover_llama3(Config& config) {
  const std::vector<float>& divisors = config.rope.inv_freq_divisor;
  if (divisors.empty()) return {};
  Rope rope = config.rope;
  rope.scaling = RopeScaling::llama3;
  rope.factor = *std::ranges::max_element(divisors);
  for (int64_t context : {8192, 4096, 2048, 16384, 32768, 1024, 512, 256, 128, 64, 32, 16}) {
    rope.original_context = context;
    for (const auto& [low, high] : {std::pair{1.0F, 4.0F}, std::pair{1.0F, 8.0F}, std::pair{2.0F, 4.0F}}) {
      rope.low_freq_factor = low;
      rope.high_freq_factor = high;
      const auto tried = llama3_divisors(rope);
      const bool same = std::ranges::equal(
          tried, divisors, [](float a, float b) { return std::abs(a - b) <= 1e-4F * std::abs(b); });
      if (!same) continue;
      config.rope = rope;
      config.rope.inv_freq_divisor.clear();
      return {};
    }
  }
  return unsupported(
      "tensor 'rope_freqs.weight': no llama3 scaling gives these divisors, so config.json cannot say them");
}

/// The name in the folder that is written. A model without a head ("BertModel") has no prefix.
std::string hf_name(const std::string& name, const Architecture& arch, const Config& config) {
  const auto starts = [&](std::string_view outside) { return name.starts_with(outside); };
  const bool bare = config.hf_arch.ends_with("Model") && !config.hf_arch.ends_with("HeadModel");
  return bare || std::ranges::any_of(arch.hf_outside, starts) ? name : std::string(arch.hf_prefixes[0]) + name;
}

Result<void> write_configs(const Checkpoint& c, const Config& config, const Architecture& arch,
                           const fs::path& folder, const std::string& type) {
  Json json = arch.to_hf(config);
  json["vocab_size"] = config.vocab;
  json["tie_word_embeddings"] = config.tied_embeddings;
  json["torch_dtype"] = type == "F16" ? "float16" : type == "BF16" ? "bfloat16" : "float32";
  Json generation = {{"_from_model_config", true}};
  const auto id = [&](const char* key, const Json& value) { json[key] = generation[key] = value; };
  if (config.bos >= 0) id("bos_token_id", config.bos);
  if (config.pad >= 0) id("pad_token_id", config.pad);
  if (config.eos.size() == 1) id("eos_token_id", config.eos[0]);
  if (config.eos.size() > 1) id("eos_token_id", config.eos);
  LISSOM_CHECK(write_file(folder / "config.json", json.dump(2) + "\n"));
  if (config.causal) LISSOM_CHECK(write_file(folder / "generation_config.json", generation.dump(2) + "\n"));
  if (config.pooling != Pooling::none) {
    const Json modules = {
        {{"idx", 0}, {"name", "0"}, {"path", ""}, {"type", "sentence_transformers.models.Transformer"}},
        {{"idx", 1}, {"name", "1"}, {"path", "1_Pooling"}, {"type", "sentence_transformers.models.Pooling"}}};
    const Json pooling = {{"word_embedding_dimension", config.width},
                          {"pooling_mode_cls_token", config.pooling == Pooling::cls},
                          {"pooling_mode_mean_tokens", config.pooling == Pooling::mean},
                          {"pooling_mode_lasttoken", config.pooling == Pooling::last}};
    std::error_code error;
    fs::create_directory(folder / "1_Pooling", error);
    if (error) return io_error((folder / "1_Pooling").string() + ": " + error.message());
    LISSOM_CHECK(write_file(folder / "modules.json", modules.dump(2) + "\n"));
    LISSOM_CHECK(write_file(folder / "1_Pooling/config.json", pooling.dump(2) + "\n"));
  }
  if (c.metadata->find("tokenizer.ggml.tokens") == nullptr) return {};
  LISSOM_TRY(const TokenizerFiles files, hf_tokenizer_files(*c.metadata, c.path.string()));
  LISSOM_CHECK(write_file(folder / "tokenizer.json", files.tokenizer_json));
  return write_file(folder / "tokenizer_config.json", files.tokenizer_config_json);
}

/// A tensor of the folder: one of those that a canonical one is made of.
struct Piece {
  size_t tensor;  ///< index of the checkpoint's
  size_t part;    ///< of hf_tensors()
};
struct Shard {
  std::string file;
  std::vector<Piece> pieces;
  std::vector<TensorInfo> directory;
};

std::vector<Shard> plan_shards(const Checkpoint& c, const Architecture& arch, const Config& config,
                               const ConvertOptions& options) {
  std::vector<Shard> shards(1);
  uint64_t filled = 0;
  const auto list = c.tensors->tensors();
  for (size_t i = 0; i < list.size(); ++i) {
    const Weight& w = c.graph.weights[static_cast<size_t>(c.graph.find_weight(list[i].name))];
    const std::string type = written_type(w, list[i].type, options.type, false);
    const auto tensors = hf_tensors(w);
    for (size_t part = 0; part < tensors.size(); ++part) {
      const uint64_t bytes = static_cast<uint64_t>(tensors[part].shape.elements()) * (type == "F32" ? 4 : 2);
      if (filled > 0 && filled + bytes > options.shard_bytes) {
        shards.emplace_back();
        filled = 0;
      }
      filled += bytes;
      shards.back().pieces.push_back({i, part});
      shards.back().directory.push_back(
          {hf_name(tensors[part].name, arch, config), type, tensors[part].shape, bytes});
    }
  }
  for (size_t s = 0; s < shards.size(); ++s) {
    char name[64];
    std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", s + 1, shards.size());
    shards[s].file = shards.size() == 1 ? "model.safetensors" : name;
  }
  return shards;
}

Result<void> write_shard(const Checkpoint& c, const Shard& shard, const fs::path& folder,
                         const Progress& progress) {
  LISSOM_TRY(auto writer, SafetensorsWriter::create(folder / shard.file, shard.directory, {{"format", "pt"}}));
  std::vector<float> values;
  for (size_t k = 0; k < shard.pieces.size(); ++k) {
    if (progress.stop_requested()) return tl::unexpected(Error{ErrorKind::cancelled, "stopped"});
    const auto [i, part] = shard.pieces[k];
    const TensorInfo& info = c.tensors->tensors()[i];
    progress.report("convert", static_cast<int64_t>(i), static_cast<int64_t>(c.tensors->tensors().size()),
                    info.name);
    const Weight& w = c.graph.weights[static_cast<size_t>(c.graph.find_weight(info.name))];
    if (k == 0 || shard.pieces[k - 1].tensor != i) {
      LISSOM_TRY(const TensorView view, c.tensors->read(i));
      LISSOM_TRY(values, decode(view));
      c.tensors->release(i);
    }
    const TensorInfo& out = shard.directory[k];
    LISSOM_TRY(const auto bytes, encode(info.name, out.type, out.shape, hf_values(w, part, values)));
    LISSOM_CHECK(writer->append(bytes));
  }
  return writer->finish();
}

Result<void> fill_folder(const Checkpoint& c, const fs::path& folder, const ConvertOptions& options,
                         const Progress& progress) {
  const Architecture* arch = architecture_of(c.config);
  Config config = c.config;
  LISSOM_CHECK(recover_llama3(config));
  const auto shards = plan_shards(c, *arch, config, options);
  Json index = {{"metadata", {{"total_size", 0}}}, {"weight_map", Json::object()}};
  uint64_t total = 0;
  for (const Shard& shard : shards) {
    LISSOM_CHECK(write_shard(c, shard, folder, progress));
    for (const TensorInfo& t : shard.directory) {
      index["weight_map"][t.name] = shard.file;
      total += t.bytes;
    }
  }
  index["metadata"]["total_size"] = total;
  if (shards.size() > 1)
    LISSOM_CHECK(write_file(folder / "model.safetensors.index.json", index.dump(2) + "\n"));
  return write_configs(c, config, *arch, folder, shards[0].directory[0].type);
}

/// The folder appears under its name only when it is whole.
Result<void> write_folder(const Checkpoint& c, const fs::path& out, const ConvertOptions& options,
                          const Progress& progress) {
  std::error_code error;
  if (fs::exists(out, error) && !fs::is_empty(out, error))
    return bad_input(out.string() + ": exists and is not empty; name a new folder");
  fs::path target = fs::absolute(out).lexically_normal();
  if (!target.has_filename()) target = target.parent_path();
  const fs::path partial = target.string() + ".partial";
  fs::remove_all(partial, error);
  fs::create_directories(partial, error);
  if (error) return io_error(partial.string() + ": " + error.message());
  auto done = fill_folder(c, partial, options, progress);
  if (done) {
    fs::remove(target, error);
    fs::rename(partial, target, error);
    if (error) done = io_error(target.string() + ": " + error.message());
  }
  if (!done) fs::remove_all(partial, error);
  return done;
}

}  // namespace

Result<void> convert(const Checkpoint& c, const fs::path& out, const ConvertOptions& options,
                     const Progress& progress) {
  if (options.type != "keep" && !is_plain_float(options.type))
    return bad_input("--type is '" + options.type +
                     "', expected keep, F32, F16 or BF16; for smaller types, compress");
  std::error_code ignored;
  if (fs::equivalent(out, c.path, ignored)) return bad_input(out.string() + ": is the input");
  return out.extension() == ".gguf" ? write_gguf(c, out, options, progress)
                                    : write_folder(c, out, options, progress);
}

}  // namespace lissom
