// Compression into the folders that vLLM and transformers load: format/quant_method says what lies where,
// codec/group chooses the values.

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>

#include "base/threads.h"
#include "codec/group/group.h"
#include "compress/encode.h"
#include "compress/source.h"
#include "format/hf_writer.h"
#include "format/quant_method.h"
#include "lissom/codec.h"
#include "lissom/compress.h"
#include "model/canonical_source.h"
#include "model/hf_folder.h"

namespace lissom {
namespace {

namespace fs = std::filesystem;

constexpr float kLargest = 65504.0F;        // what a scale of F16 can stand for
constexpr int64_t kUnitWeights = 16 << 10;  // what one thread takes at a time
constexpr int64_t kSlab = 1 << 20;          // weights that are turned into 16 bits at a time

/// A tensor of the usual folder, and what is written for it.
struct Piece {
  size_t tensor = 0;   ///< of the checkpoint's
  size_t part = 0;     ///< of hf_tensors()
  std::string module;  ///< without ".weight"
  Shape shape;
  bool quantized = false;
  std::vector<TensorInfo> written;
};

struct Layout {
  std::unique_ptr<LinearWriter> writer;
  std::string half;  ///< "F16" or "BF16"
  std::vector<Piece> pieces;
  QuantModules modules;
  Plan plan;
  std::vector<size_t> sources;  ///< of each entry of the plan: the checkpoint's tensor
  std::vector<std::string> warnings;
};

/// BF16 where most of the source is: F16 would not hold all of its values.
std::string half_type(const Checkpoint& checkpoint) {
  int64_t bf16 = 0, all = 0;
  for (const TensorInfo& info : checkpoint.tensors->tensors()) {
    all += info.shape.elements();
    if (info.type == "BF16") bf16 += info.shape.elements();
  }
  return 2 * bf16 > all ? "BF16" : "F16";
}

Result<std::unique_ptr<LinearWriter>> find_writer(const FolderOptions& options, const std::string& half) {
  const FolderFormat* format = find_folder_format(options.format);
  if (format == nullptr) {
    std::string known;
    for (const FolderFormat& f : folder_formats()) known += (known.empty() ? "" : ", ") + std::string(f.name);
    return bad_input(fmt::format("--format: '{}' is not known; there are gguf, {}", options.format, known));
  }
  const std::string scheme = options.scheme.empty() ? format->schemes.front() : options.scheme;
  if (std::ranges::count(format->schemes, scheme) == 0)
    return bad_input(fmt::format("--scheme: {} has no scheme '{}'; there are {}", options.format, scheme,
                                 fmt::join(format->schemes, ", ")));
  return format->writer(scheme, half == "BF16" ? GroupScale::bf16 : GroupScale::f16);
}

Result<void> check_model(const Checkpoint& checkpoint, const std::string& format) {
  const auto refuse = [&](const std::string& why) { return unsupported("--format " + format + ": " + why); };
  if (checkpoint.graph.logits < 0 || !checkpoint.config.causal)
    return refuse("this model predicts no next token, which is what these folders' loaders are for");
  for (const Weight& w : checkpoint.graph.weights) {
    if (w.role != WeightRole::linear) continue;
    if (w.shape.rank() == 3)
      return refuse(
          "a mixture of experts: transformers holds the experts of a layer as one tensor, for which "
          "these formats have no place");
    if (w.transform == HfTransform::transpose)
      return refuse("tensor '" + w.name +
                    "': the architecture's layers lie transposed (Conv1D), and loaders "
                    "quantize Linear only");
  }
  return {};
}

/// Whether loaders take the layer for one that quantization is about. The head stays as it is.
bool is_linear_layer(const Weight& w) {
  return w.role == WeightRole::linear && w.shape.rank() == 2 && w.name != "output.weight";
}

/// What lies in the folder for one tensor of the usual one.
Piece make_piece(const Weight& w, size_t tensor, size_t part, const HfTensor& hf, const HfNames& names,
                 Layout& layout) {
  constexpr std::string_view kWeight = ".weight";
  Piece piece{tensor, part, names.of(hf.name), hf.shape, false, {}};
  const std::string full = piece.module;
  if (full.ends_with(kWeight)) piece.module.resize(full.size() - kWeight.size());
  if (is_linear_layer(w) && full.ends_with(kWeight)) {
    const std::string unfit = layout.writer->unfit(hf.shape[0], hf.shape[1]);
    piece.quantized = unfit.empty();
    (unfit.empty() ? layout.modules.quantized : layout.modules.plain).push_back(piece.module);
    if (!unfit.empty()) layout.warnings.push_back(piece.module + " stays " + layout.half + ": " + unfit);
  }
  if (piece.quantized) {
    piece.written = layout.writer->parts(hf.shape[0], hf.shape[1]);
    for (TensorInfo& info : piece.written) info.name = piece.module + info.name;
  } else {
    piece.written = {{full, layout.half, hf.shape, static_cast<uint64_t>(hf.shape.elements()) * 2}};
  }
  return piece;
}

Result<Layout> make_layout(const Checkpoint& checkpoint, const FolderOptions& options) {
  Layout layout;
  layout.half = half_type(checkpoint);
  LISSOM_TRY(layout.writer, find_writer(options, layout.half));
  LISSOM_CHECK(check_model(checkpoint, options.format));
  LISSOM_TRY(const HfNames names, HfNames::of_checkpoint(checkpoint));
  const auto list = checkpoint.tensors->tensors();
  int64_t weights = 0;
  for (size_t i = 0; i < list.size(); ++i) {
    if (find_block_codec(list[i].type) == nullptr)
      return unsupported(checkpoint.tensors->origin() + ": tensor '" + list[i].name + "' has type " +
                         list[i].type + ", which is no type of weights");
    const Weight& w = checkpoint.graph.weights[static_cast<size_t>(checkpoint.graph.find_weight(list[i].name))];
    const auto tensors = hf_tensors(w);
    if (tensors.empty() || w.role == WeightRole::constant) continue;  // config.json says what it says
    PlanEntry entry{list[i].name, list[i].shape, list[i].type, {}, {}, false, true, 0};
    for (size_t part = 0; part < tensors.size(); ++part) {
      Piece piece = make_piece(w, i, part, tensors[part], names, layout);
      entry.kept = entry.kept && !piece.quantized;
      for (const TensorInfo& info : piece.written) entry.bytes += info.bytes;
      layout.pieces.push_back(std::move(piece));
    }
    entry.codec = entry.kept ? layout.half : group_spec_name(layout.writer->spec());
    entry.fallback = entry.kept && is_linear_layer(w);
    entry.reason = !entry.kept      ? "a linear layer"
                   : entry.fallback ? "the format cannot hold its shape"
                                    : "kept: no linear layer of a block";
    layout.plan.bytes += entry.bytes;
    weights += entry.shape.elements();
    layout.plan.entries.push_back(std::move(entry));
    layout.sources.push_back(i);
  }
  if (layout.modules.quantized.empty())
    return bad_input(fmt::format("--format {}: no layer of this model can be held{}{}", options.format,
                                 layout.warnings.empty() ? "" : ": ",
                                 layout.warnings.empty() ? "" : layout.warnings.front()));
  layout.plan.bits_per_weight = 8.0 * static_cast<double>(layout.plan.bytes) / static_cast<double>(weights);
  return layout;
}

// ---------------------------------------------------------------- values

Result<std::vector<float>> decode(const Checkpoint& checkpoint, size_t tensor, ThreadPool& pool) {
  LISSOM_TRY(const TensorView view, checkpoint.tensors->read(tensor));
  const TensorInfo& info = checkpoint.tensors->tensors()[tensor];
  const Codec& codec = *find_codec(info.type);
  std::vector<float> values(static_cast<size_t>(info.shape.elements()));
  const std::span<const std::byte> parts[] = {view.data};
  const int64_t cols = info.shape.cols();
  pool.parallel_for(info.shape.rows(), std::max<int64_t>(1, kUnitWeights / std::max<int64_t>(1, cols)),
                    [&](int64_t first, int64_t last, int) {
                      codec.decode_rows(info.shape, parts, first, last - first, values.data() + first * cols);
                    });
  checkpoint.tensors->release(tensor);
  for (const float v : values)
    if (!(std::fabs(v) <= kLargest))
      return bad_input(checkpoint.tensors->origin() + ": tensor '" + info.name + "' holds " +
                       (std::isfinite(v) ? std::to_string(v) + ", more than a scale of F16 can stand for"
                                         : std::string("NaN or Inf")));
  return values;
}

/// The largest weight of all layers that read the same input: loaders that join them (q, k and v; gate and up)
/// want one global scale for them.
class SharedLargest {
 public:
  explicit SharedLargest(const Checkpoint& checkpoint, ThreadPool& pool)
      : checkpoint_(checkpoint), pool_(pool) {
    for (const Op& op : checkpoint.graph.ops)
      if (const auto* linear = std::get_if<LinearOp>(&op); linear != nullptr) {
        const std::string& name = checkpoint.graph.weights[static_cast<size_t>(linear->weight)].name;
        label_of_[name] = linear->input_label;
        members_[linear->input_label].push_back(name);
      }
  }
  Result<float> of(const std::string& tensor) {
    const std::string& label = label_of_[tensor];
    if (const auto found = largest_.find(label); !label.empty() && found != largest_.end())
      return found->second;
    const std::vector<std::string> names = label.empty() ? std::vector<std::string>{tensor} : members_[label];
    float largest = 0;
    for (const std::string& name : names) {
      const int64_t at = checkpoint_.tensors->find(name);
      if (at < 0) continue;
      LISSOM_TRY(const auto values, decode(checkpoint_, static_cast<size_t>(at), pool_));
      for (const float v : values) largest = std::max(largest, std::fabs(v));
    }
    largest_[label] = largest;
    return largest;
  }

 private:
  const Checkpoint& checkpoint_;
  ThreadPool& pool_;
  std::map<std::string, std::string> label_of_;
  std::map<std::string, std::vector<std::string>> members_;
  std::map<std::string, float> largest_;
};

ErrorSums row_error(const float* w, const float* back, std::span<const float> importance, int64_t n) {
  ErrorSums sums;
  for (int64_t i = 0; i < n; ++i) {
    const double d = static_cast<double>(w[i]) - static_cast<double>(back[i]), p = w[i];
    const double v = importance.empty() ? 1.0 : importance[static_cast<size_t>(i)];
    sums.add({d * d, p * p, v * d * d, v * p * p});
  }
  return sums;
}

/// Quantizes the rows by all threads, and measures them.
GroupMatrix quantize(const GroupSpec& spec, std::span<const float> w, const Shape& shape,
                     std::span<const float> importance, float global_scale, ThreadPool& pool, ErrorSums& sums) {
  const int64_t rows = shape[0], cols = shape[1];
  GroupMatrix matrix = make_group_matrix(spec, rows, cols);
  matrix.global_scale = global_scale;
  std::vector<ErrorSums> of_row(static_cast<size_t>(rows));
  pool.parallel_for(rows, std::max<int64_t>(1, kUnitWeights / cols), [&](int64_t first, int64_t last, int) {
    encode_group_rows(w.data() + first * cols, importance, first, last - first, matrix);
    std::vector<float> back(static_cast<size_t>(cols));
    for (int64_t r = first; r < last; ++r) {
      matrix.decode_row(r, back.data());
      of_row[static_cast<size_t>(r)] = row_error(w.data() + r * cols, back.data(), importance, cols);
    }
  });
  for (const ErrorSums& row : of_row) sums.add(row);
  return matrix;
}

/// One pass over the checkpoint.
class Exporter {
 public:
  Exporter(const Checkpoint& checkpoint, const Layout& layout, const Means& means, ThreadPool& pool,
           HfWeightsWriter& out)
      : checkpoint_(checkpoint),
        layout_(layout),
        means_(means),
        pool_(pool),
        out_(out),
        largest_(checkpoint, pool) {}

  /// `entry` of the plan, whose pieces begin at `piece`.
  Result<void> write(size_t entry, size_t& piece, TensorReport& report) {
    const size_t tensor = layout_.sources[entry];
    const std::string& name = layout_.plan.entries[entry].tensor;
    LISSOM_TRY(const std::vector<float> values, decode(checkpoint_, tensor, pool_));
    const Weight& w = checkpoint_.graph.weights[static_cast<size_t>(checkpoint_.graph.find_weight(name))];
    const auto mean = means_.find(name);
    const std::span<const float> importance = mean == means_.end() ? std::span<const float>() : mean->second;
    ErrorSums sums;
    for (; piece < layout_.pieces.size() && layout_.pieces[piece].tensor == tensor; ++piece) {
      const Piece& p = layout_.pieces[piece];
      std::vector<float> moved;
      if (w.transform != HfTransform::none) moved = hf_values(w, p.part, values);
      const std::span<const float> part = moved.empty() ? std::span(values) : std::span<const float>(moved);
      LISSOM_CHECK(p.quantized ? write_quantized(name, p, part, importance, sums)
                               : write_plain(name, p, part, sums));
    }
    report.relative_error = sums.relative();
    report.weighted_relative_error = sums.weighted_relative();
    report.has_importance = !importance.empty();
    return {};
  }

 private:
  Result<void> write_quantized(const std::string& name, const Piece& piece, std::span<const float> w,
                               std::span<const float> importance, ErrorSums& sums) {
    const GroupSpec& spec = layout_.writer->spec();
    float global_scale = 1;
    if (spec.scale == GroupScale::e4m3) {
      LISSOM_TRY(const float largest, largest_.of(name));
      global_scale = e4m3_global_scale(largest);
    }
    const GroupMatrix matrix = quantize(spec, w, piece.shape, importance, global_scale, pool_, sums);
    for (const auto& bytes : layout_.writer->pack(matrix)) LISSOM_CHECK(out_.append(bytes));
    return {};
  }

  Result<void> write_plain(const std::string& name, const Piece& piece, std::span<const float> w,
                           ErrorSums& sums) {
    const Codec& half = *find_codec(layout_.half);
    const int64_t cols = piece.shape.cols(), rows = piece.shape.rows(),
                  step = std::max<int64_t>(1, kSlab / cols);
    std::vector<std::byte> bytes;
    bytes.reserve(w.size() * 2);
    std::vector<float> back;
    for (int64_t first = 0; first < rows; first += step) {
      const Shape slab{std::min(step, rows - first), cols};
      const auto from = w.subspan(static_cast<size_t>(first * cols), static_cast<size_t>(slab.elements()));
      LISSOM_TRY(const auto parts, encode_checked(half, name, slab, from, {}));
      back.resize(from.size());
      const std::span<const std::byte> stored[] = {parts[0]};
      half.decode_rows(slab, stored, 0, slab[0], back.data());
      sums.add(row_error(from.data(), back.data(), {}, slab.elements()));
      bytes.insert(bytes.end(), parts[0].begin(), parts[0].end());
    }
    return out_.append(bytes);
  }

  const Checkpoint& checkpoint_;
  const Layout& layout_;
  const Means& means_;
  ThreadPool& pool_;
  HfWeightsWriter& out_;
  SharedLargest largest_;
};

Result<void> fill_folder(const Checkpoint& checkpoint, const fs::path& folder, const FolderOptions& options,
                         const Layout& layout, const Means& means, const Progress& progress,
                         CompressResult& result) {
  std::vector<TensorInfo> directory;
  for (const Piece& piece : layout.pieces)
    directory.insert(directory.end(), piece.written.begin(), piece.written.end());
  const std::map<std::string, std::string> metadata = {{"format", "pt"},
                                                       {"lissom.version", LISSOM_VERSION},
                                                       {"lissom.scheme", options.format + " " + options.scheme},
                                                       {"lissom.source_digest", options.source_digest}};
  LISSOM_TRY(const auto writer, HfWeightsWriter::create(folder, directory, metadata, options.shard_bytes));
  ThreadPool pool(options.threads);
  Exporter exporter(checkpoint, layout, means, pool, *writer);
  int64_t total = 0, done = 0;
  for (const PlanEntry& entry : layout.plan.entries) total += entry.shape.elements();
  size_t piece = 0;
  for (size_t e = 0; e < layout.plan.entries.size(); ++e) {
    if (progress.stop_requested()) return tl::unexpected(Error{ErrorKind::cancelled, "stopped"});
    const PlanEntry& entry = layout.plan.entries[e];
    progress.report("quantize", done, total, entry.tensor);
    TensorReport report{entry.tensor, entry.from,  entry.codec,
                        entry.reason, entry.shape, checkpoint.tensors->tensors()[layout.sources[e]].bytes,
                        entry.bytes};
    LISSOM_CHECK(exporter.write(e, piece, report));
    done += entry.shape.elements();
    result.bytes_before += report.bytes_before;
    result.bytes_after += report.bytes_after;
    result.tensors.push_back(std::move(report));
  }
  progress.report("quantize", total, total);
  LISSOM_CHECK(writer->finish());
  return carry_hf_configs(checkpoint, folder, layout.half, layout.writer->config(layout.modules));
}

}  // namespace

Result<Plan> make_folder_plan(const Checkpoint& checkpoint, const FolderOptions& options) {
  LISSOM_TRY(Layout layout, make_layout(checkpoint, options));
  return std::move(layout.plan);
}

Result<CompressResult> compress_to_folder(const Checkpoint& checkpoint, const fs::path& out,
                                          const FolderOptions& options, const Progress& progress) {
  const auto begin = std::chrono::steady_clock::now();
  LISSOM_TRY(const Means means, means_of(checkpoint, options.importance));
  LISSOM_TRY(Layout layout, make_layout(checkpoint, options));
  CompressResult result;
  result.path = out;
  result.source_digest = options.source_digest;
  result.warnings = layout.warnings;
  for (const std::string& warning : result.warnings) progress.say(LogLevel::warning, warning);
  warn_of_quantized_source(layout.plan, progress, result.warnings);
  if (const std::string caveat = layout.writer->caveat(); !caveat.empty()) {
    result.warnings.push_back(caveat);
    progress.say(LogLevel::warning, caveat);
  }
  LISSOM_CHECK(write_whole_folder(out, [&](const fs::path& folder) {
    return fill_folder(checkpoint, folder, options, layout, means, progress, result);
  }));
  result.plan = std::move(layout.plan);
  std::error_code code;
  for (fs::recursive_directory_iterator it(out, code), end; !code && it != end; it.increment(code))
    if (it->is_regular_file(code)) result.file_bytes += it->file_size(code);
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return result;
}

}  // namespace lissom
