#include "compress/pack.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/threads.h"
#include "codec/parts.h"
#include "codec/statistics.h"
#include "compress/algorithms/error_feedback/tensor.h"
#include "compress/digest.h"
#include "compress/encode.h"
#include "compress/header.h"
#include "compress/source.h"
#include "format/pack.h"
#include "lissom/codec.h"
#include "lissom/gguf.h"

namespace lissom {
namespace {

namespace fs = std::filesystem;

/// Of larger tensors so many rows, evenly spread, tell the error to three digits.
constexpr int64_t kMeasuredWeights = 128 << 10;

Result<void> check_output(const Checkpoint& checkpoint, const fs::path& out) {
  std::error_code code;
  if (fs::is_directory(out, code)) return bad_input(out.string() + ": is a folder, not a file to write");
  bool same = fs::equivalent(checkpoint.path, out, code);
  if (fs::is_directory(checkpoint.path, code))
    for (const auto& file : fs::directory_iterator(checkpoint.path, code))
      same = same || fs::equivalent(file.path(), out, code);
  if (same) return bad_input(out.string() + ": the output is the source; give another -o");
  return {};
}

/// One tensor on its way.
struct Work {
  size_t index = 0;
  TensorView view;
  std::vector<std::vector<std::byte>> parts;
  ErrorSums sums;
  bool fed_back = false;
  Result<void> failure;
};

class PackJob {
 public:
  PackJob(const Checkpoint& checkpoint, const PackOptions& options, Plan& plan, const Means& means,
          ThreadPool& pool, const Progress& progress)
      : checkpoint_(checkpoint),
        options_(options),
        plan_(plan),
        means_(means),
        pool_(pool),
        progress_(progress) {}

  /// Puts what adaptive codecs stand for into the plan.
  Result<void> choose() {
    bool any = false;
    for (const PlanEntry& entry : plan_.entries) any = any || adaptive(entry) != nullptr;
    if (!any) return {};
    LISSOM_CHECK(each(
        "choose", [&](size_t i) { return adaptive(plan_.entries[i]) != nullptr; },
        [&](Work& work) { choose_one(work); }, [](Work&) -> Result<void> { return {}; }));
    return count();
  }

  Result<void> encode(PackWriter& writer, std::vector<TensorReport>& reports) {
    reports.resize(plan_.entries.size());
    return each(
        "quantize", [](size_t) { return true; }, [&](Work& work) { encode_one(work); },
        [&](Work& work) -> Result<void> {
          Parts parts;
          for (const auto& part : work.parts) parts.emplace_back(part);
          if (work.parts.empty()) {
            LISSOM_TRY(parts, parts_of(*find_codec(plan_.entries[work.index].codec),
                                       plan_.entries[work.index].shape, work.view.data));
          }
          LISSOM_CHECK(writer.put(work.index, parts));
          const PlanEntry& e = plan_.entries[work.index];
          reports[work.index] = {e.tensor,
                                 e.from,
                                 e.codec,
                                 e.reason,
                                 e.shape,
                                 checkpoint_.tensors->tensors()[work.index].bytes,
                                 e.bytes,
                                 work.sums.relative(),
                                 work.sums.weighted_relative(),
                                 means_.contains(e.tensor),
                                 work.fed_back};
          return {};
        });
  }

 private:
  static const AdaptiveCodec* adaptive(const PlanEntry& entry) {
    return dynamic_cast<const AdaptiveCodec*>(find_codec(entry.codec));
  }

  /// Works on tensors side by side, in the plan's order, and finishes them one after the other.
  template <class Wanted, class Do, class Finish>
  Result<void> each(const char* stage, Wanted wanted, Do work_on, Finish finish) {
    std::vector<size_t> rest;
    for (size_t i = 0; i < plan_.entries.size(); ++i)
      if (wanted(i)) rest.push_back(i);
    LISSOM_CHECK(checkpoint_.tensors->expect(rest));
    for (size_t at = 0; at < rest.size();) {
      if (progress_.stop_requested()) return tl::unexpected(Error{ErrorKind::cancelled, "stopped"});
      progress_.report(stage, static_cast<int64_t>(at), static_cast<int64_t>(rest.size()),
                       plan_.entries[rest[at]].tensor);
      std::vector<Work> batch;
      for (int64_t weights = 0;
           at < rest.size() && batch.size() < size_t{4} * static_cast<size_t>(pool_.size()); ++at) {
        weights += plan_.entries[rest[at]].shape.elements();
        if (!batch.empty() && weights > options_.step_weights) break;
        Work& work = batch.emplace_back();
        work.index = rest[at];
        LISSOM_TRY(work.view, checkpoint_.tensors->read(work.index));
      }
      pool_.parallel_for(static_cast<int64_t>(batch.size()), 1, [&](int64_t first, int64_t last, int) {
        for (int64_t w = first; w < last; ++w) work_on(batch[static_cast<size_t>(w)]);
      });
      for (Work& work : batch) {
        if (!work.failure) return tl::unexpected(work.failure.error().within(checkpoint_.tensors->origin()));
        LISSOM_CHECK(finish(work));
        checkpoint_.tensors->release(work.index);
      }
    }
    progress_.report(stage, static_cast<int64_t>(rest.size()), static_cast<int64_t>(rest.size()), "");
    return {};
  }

  [[nodiscard]] InputStatistics statistics(const PlanEntry& entry) const {
    InputStatistics known;
    if (const auto h = options_.hessians.find(entry.tensor); h != options_.hessians.end())
      known.hessian = *h->second;
    else if (const auto mean = means_.find(entry.tensor); mean != means_.end())
      known.importance = mean->second;
    if (static_cast<int64_t>(known.importance.size()) != entry.shape.cols()) known.importance = {};
    return known;
  }

  static Result<std::vector<float>> values(const Work& work, const PlanEntry& entry) {
    const Codec& codec = *find_codec(entry.from);
    auto parts = parts_of(codec, entry.shape, work.view.data);
    if (!parts) return tl::unexpected(parts.error().within("tensor '" + entry.tensor + "'"));
    std::vector<float> w(static_cast<size_t>(entry.shape.elements()));
    codec.decode_rows(entry.shape, *parts, 0, entry.shape.rows(), w.data());
    for (const float v : w)
      if (!std::isfinite(v)) return bad_input("tensor '" + entry.tensor + "' holds NaN or Inf");
    return w;
  }

  void choose_one(Work& work) const {
    PlanEntry& entry = plan_.entries[work.index];
    const auto w = values(work, entry);
    if (!w) {
      work.failure = tl::unexpected(w.error());
      return;
    }
    const std::string chosen = adaptive(entry)->choose(entry.shape, *w, statistics(entry));
    entry.reason += "; " + entry.codec + " chose " + chosen;
    entry.codec = chosen;
    entry.bytes = stored_bytes(*find_codec(chosen), entry.shape);
  }

  Result<void> count() {
    plan_.bytes = 0;
    int64_t weights = 0;
    for (const PlanEntry& entry : plan_.entries) {
      plan_.bytes += entry.bytes;
      weights += entry.shape.elements();
    }
    plan_.bits_per_weight = 8.0 * static_cast<double>(plan_.bytes) / static_cast<double>(weights);
    return {};
  }

  void encode_one(Work& work) const {
    const PlanEntry& entry = plan_.entries[work.index];
    const auto w = values(work, entry);
    if (!w) {
      work.failure = tl::unexpected(w.error());
      return;
    }
    if (entry.from == entry.codec) {  // copied
      for (const float v : *w) work.sums.power += double{v} * double{v};
      work.sums.weighted_power = work.sums.power;
      return;
    }
    const Codec& codec = *find_codec(entry.codec);
    for (const float v : *w)
      if (std::fabs(v) > codec.max_magnitude()) {
        work.failure = bad_input(
            fmt::format("tensor '{}' holds {}, more than {} can store", entry.tensor, v, entry.codec));
        return;
      }
    if (const auto done = encode_values(codec, entry, *w, work); !done) {
      work.failure = done;
      return;
    }
    measure(codec, entry, *w, work);
  }

  Result<void> encode_values(const Codec& codec, const PlanEntry& entry, const std::vector<float>& w,
                             Work& work) const {
    const InputStatistics known = statistics(entry);
    const auto* mean = find_mean(entry);
    auto& out = work.parts;
    work.fed_back =
        takes_feedback(entry) && !known.hessian.empty() &&
        encode_with_feedback(entry, w, mean == nullptr ? std::span<const float>() : *mean, known.hessian, out);
    if (work.fed_back) return {};
    const auto* wise = dynamic_cast<const HessianCodec*>(&codec);
    if (wise == nullptr || known.hessian.empty()) {
      // A mixture's experts have importance of their own, which codecs of blocks take a row at a time.
      if (mean != nullptr && static_cast<int64_t>(mean->size()) != entry.shape.cols())
        return encode_experts(codec, entry, w, *mean, out);
      const auto importance = mean == nullptr ? std::span<const float>() : std::span<const float>(*mean);
      LISSOM_TRY(out, encode_checked(codec, entry.tensor, entry.shape, w, importance));
      return {};
    }
    std::vector<std::span<std::byte>> views;
    for (const Component& part : codec.components(entry.shape))
      views.emplace_back(out.emplace_back(part.bytes));
    wise->encode_with(entry.shape, w, known, views);
    return {};
  }

  [[nodiscard]] const std::vector<float>* find_mean(const PlanEntry& entry) const {
    const auto it = means_.find(entry.tensor);
    return it == means_.end() ? nullptr : &it->second;
  }

  /// Blocks do not reach over rows, so that each expert is encoded alone; other codecs see the whole tensor.
  static Result<void> encode_experts(const Codec& codec, const PlanEntry& entry, const std::vector<float>& w,
                                     const std::vector<float>& mean, std::vector<std::vector<std::byte>>& out) {
    const int64_t cols = entry.shape.cols(), experts = entry.shape[0], rows = entry.shape.rows() / experts;
    if (dynamic_cast<const BlockCodec*>(&codec) == nullptr) {
      LISSOM_TRY(out, encode_checked(codec, entry.tensor, entry.shape, w, {}));
      return {};
    }
    out.resize(1);
    for (int64_t e = 0; e < experts; ++e) {
      const auto weights =
          std::span(w).subspan(static_cast<size_t>(e * rows * cols), static_cast<size_t>(rows * cols));
      const auto importance = std::span(mean).subspan(static_cast<size_t>(e * cols), static_cast<size_t>(cols));
      LISSOM_TRY(const auto parts, encode_checked(codec, entry.tensor, Shape{rows, cols}, weights, importance));
      out[0].insert(out[0].end(), parts[0].begin(), parts[0].end());
    }
    return {};
  }

  void measure(const Codec& codec, const PlanEntry& entry, const std::vector<float>& w, Work& work) const {
    const int64_t rows = entry.shape.rows(), cols = entry.shape.cols();
    const int64_t stride = std::max<int64_t>(1, entry.shape.elements() / kMeasuredWeights);
    Parts parts;
    for (const auto& part : work.parts) parts.emplace_back(part);
    const auto* mean = find_mean(entry);
    if (mean != nullptr && static_cast<int64_t>(mean->size()) != cols) mean = nullptr;
    std::vector<float> back(static_cast<size_t>(cols));
    for (int64_t r = 0; r < rows; r += stride) {
      codec.decode_rows(entry.shape, parts, r, 1, back.data());
      for (int64_t c = 0; c < cols; ++c) {
        const double a = double{w[static_cast<size_t>(r * cols + c)]},
                     d = a - double{back[static_cast<size_t>(c)]};
        const double v = mean == nullptr ? 1.0 : double{(*mean)[static_cast<size_t>(c)]};
        work.sums.add({d * d, a * a, v * d * d, v * a * a});
      }
    }
  }

  const Checkpoint& checkpoint_;
  const PackOptions& options_;
  Plan& plan_;
  const Means& means_;
  ThreadPool& pool_;
  const Progress& progress_;
};

std::vector<TensorInfo> directory_of(const Plan& plan) {
  std::vector<TensorInfo> list;
  for (const PlanEntry& entry : plan.entries)
    list.push_back({entry.tensor, entry.codec, entry.shape, entry.bytes});
  return list;
}

/// As a GGUF's, without what only its codecs have.
Result<GgufMetadata> pack_metadata(const Checkpoint& checkpoint, const Scheme& scheme,
                                   const std::string& source_digest) {
  LISSOM_TRY(GgufMetadata metadata, canonical_metadata(checkpoint));
  metadata.erase("general.file_type");
  metadata.erase("general.quantization_version");
  metadata.set("lissom.version", std::string(LISSOM_VERSION));
  metadata.set("lissom.scheme", scheme.name);
  metadata.set("lissom.source_digest", source_digest);
  return metadata;
}

}  // namespace

std::vector<std::string> wanted_hessians(const Plan& plan, bool feedback) {
  std::vector<std::string> names;
  for (const PlanEntry& entry : plan.entries) {
    const Codec* codec = find_codec(entry.codec);
    if (dynamic_cast<const HessianCodec*>(codec) != nullptr ||
        dynamic_cast<const AdaptiveCodec*>(codec) != nullptr || (feedback && takes_feedback(entry)))
      names.push_back(entry.tensor);
  }
  return names;
}

Result<uint64_t> planned_pack_bytes(const Checkpoint& checkpoint, const Scheme& scheme, const Plan& plan) {
  LISSOM_TRY(const GgufMetadata metadata, pack_metadata(checkpoint, scheme, "sha256:" + std::string(64, '0')));
  return pack_file_bytes(metadata, directory_of(plan));
}

Result<CompressResult> compress_to_pack(const Checkpoint& checkpoint, const fs::path& out,
                                        const PackOptions& options, const Progress& progress) {
  const auto begin = std::chrono::steady_clock::now();
  LISSOM_CHECK(check_output(checkpoint, out));
  LISSOM_TRY(const Means means, means_of(checkpoint, options.importance));
  CompressResult result;
  result.path = out;
  LISSOM_TRY(result.plan, make_plan_for(checkpoint, options.scheme, !means.empty(), PlanFor::pack));
  warn_of_quantized_source(result.plan, progress, result.warnings);
  ThreadPool pool(options.threads);
  result.source_digest = options.source_digest;
  if (result.source_digest.empty()) {
    LISSOM_TRY(result.source_digest, checkpoint_digest(checkpoint, pool, progress));
  }
  PackJob job(checkpoint, options, result.plan, means, pool, progress);
  LISSOM_CHECK(job.choose());
  LISSOM_TRY(const GgufMetadata metadata, pack_metadata(checkpoint, options.scheme, result.source_digest));
  LISSOM_TRY(const auto writer, PackWriter::create(out, metadata, directory_of(result.plan)));
  LISSOM_CHECK(job.encode(*writer, result.tensors));
  LISSOM_CHECK(writer->finish());
  for (const TensorReport& t : result.tensors) {
    result.bytes_before += t.bytes_before;
    result.bytes_after += t.bytes_after;
  }
  std::error_code code;
  result.file_bytes = fs::file_size(out, code);
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return result;
}

}  // namespace lissom
