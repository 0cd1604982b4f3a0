// Between Hugging Face folders and GGUF, a tensor at a time.

#include "base/text.h"
#include "codec/parts.h"
#include "format/hf_writer.h"
#include "lissom/codec.h"
#include "lissom/gguf.h"
#include "model/arch.h"
#include "model/canonical_source.h"
#include "model/hf_folder.h"

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
  const auto parts = parts_of(*codec, view.info.shape, view.data);
  if (!parts) return tl::unexpected(parts.error().within("tensor " + in_quotes(view.info.name)));
  codec->decode_rows(view.info.shape, *parts, 0, view.info.shape.rows(), values.data());
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

/// A tensor of the folder: one of those that a canonical one is made of.
struct Piece {
  size_t tensor;  ///< index of the checkpoint's
  size_t part;    ///< of hf_tensors()
};

/// What is written, in the checkpoint's order.
std::vector<Piece> plan_pieces(const Checkpoint& c, const HfNames& names, const std::string& wanted,
                               std::vector<TensorInfo>& directory) {
  std::vector<Piece> pieces;
  const auto list = c.tensors->tensors();
  for (size_t i = 0; i < list.size(); ++i) {
    const Weight& w = c.graph.weights[static_cast<size_t>(c.graph.find_weight(list[i].name))];
    const std::string type = written_type(w, list[i].type, wanted, false);
    const auto tensors = hf_tensors(w);
    for (size_t part = 0; part < tensors.size(); ++part) {
      pieces.push_back({i, part});
      directory.push_back({names.of(tensors[part].name), type, tensors[part].shape,
                           static_cast<uint64_t>(tensors[part].shape.elements()) * (type == "F32" ? 4 : 2)});
    }
  }
  return pieces;
}

Result<void> fill_folder(const Checkpoint& c, const fs::path& folder, const ConvertOptions& options,
                         const Progress& progress) {
  LISSOM_TRY(const HfNames names, HfNames::of_checkpoint(c));
  std::vector<TensorInfo> directory;
  const auto pieces = plan_pieces(c, names, options.type, directory);
  LISSOM_TRY(const auto writer,
             HfWeightsWriter::create(folder, directory, {{"format", "pt"}}, options.shard_bytes));
  std::vector<float> values;
  const auto list = c.tensors->tensors();
  for (size_t k = 0; k < pieces.size(); ++k) {
    if (progress.stop_requested()) return tl::unexpected(Error{ErrorKind::cancelled, "stopped"});
    const auto [i, part] = pieces[k];
    progress.report("convert", static_cast<int64_t>(i), static_cast<int64_t>(list.size()), list[i].name);
    const Weight& w = c.graph.weights[static_cast<size_t>(c.graph.find_weight(list[i].name))];
    if (k == 0 || pieces[k - 1].tensor != i) {
      LISSOM_TRY(const TensorView view, c.tensors->read(i));
      LISSOM_TRY(values, decode(view));
      c.tensors->release(i);
    }
    const TensorInfo& out = directory[k];
    LISSOM_TRY(const auto bytes, encode(list[i].name, out.type, out.shape, hf_values(w, part, values)));
    LISSOM_CHECK(writer->append(bytes));
  }
  LISSOM_CHECK(writer->finish());
  return write_hf_configs(c, folder, directory[0].type);
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
                                    : write_whole_folder(out, [&](const fs::path& folder) {
                                        return fill_folder(c, folder, options, progress);
                                      });
}

}  // namespace lissom
