#include "pipeline/pack_job.h"

#include <algorithm>

#include "compress/algorithms/low_rank/second_moments.h"
#include "pipeline/feedback.h"
#include "pipeline/machine.h"
#include "pipeline/record.h"
#include "report/report.h"

namespace lissom {
namespace {

/// Of the text that error feedback reads, where --calib-chunks allows it.
constexpr int64_t kFeedbackTokens = 64 << 10;

/// Trellis-coded tensors gain nothing by tokens that are weighed by Fisher information, and at 2 bits they lose
/// (docs/benchmarks.md); the pass over the text is not worth it.
bool has_trellis(const Plan& plan) {
  return std::ranges::any_of(plan.entries,
                             [](const PlanEntry& entry) { return entry.codec.starts_with("lissom_"); });
}

}  // namespace

bool pack_feeds_back(const Checkpoint& checkpoint, const CompressJob& job, const Plan& plan) {
  if (job.data_free || job.imatrix) return false;
  if (!job.algorithm.empty()) return job.algorithm == kErrorFeedback;
  if (job.effort == Effort::fast) return false;
  const uint64_t have = job.ram > 0 ? job.ram : available_memory() + resident_memory();
  const uint64_t need = second_moment_bytes(checkpoint.graph, wanted_hessians(plan, true));
  return have == 0 || need + resident_memory() < have / 2;
}

void expect_pack(const Checkpoint& checkpoint, const CompressJob& job, const Plan& plan, Forecast& forecast) {
  constexpr uint64_t kBytes = 12;  // of each weight at work: the source's, F32, and what is encoded
  uint64_t at_once = static_cast<uint64_t>(PackOptions{.scheme = {}}.step_weights);
  uint64_t all = 0;
  for (const PlanEntry& entry : plan.entries) {
    at_once = std::max(at_once, static_cast<uint64_t>(entry.shape.elements()));
    all += static_cast<uint64_t>(entry.shape.elements());
  }
  const bool fed = pack_feeds_back(checkpoint, job, plan);
  const uint64_t moments =
      job.data_free || job.imatrix ? 0 : second_moment_bytes(checkpoint.graph, wanted_hessians(plan, fed));
  forecast.compress_memory =
      moments + std::max(forecast.compress_memory, forecast.process_memory + kBytes * std::min(at_once, all));
}

Result<Hessians> collect_hessians(const Checkpoint& checkpoint, const CompressJob& job, const TextPlan& text,
                                  const Plan& plan, Source& source, const Progress& progress) {
  const bool fed = pack_feeds_back(checkpoint, job, plan);
  const std::vector<std::string> wanted = wanted_hessians(plan, fed);
  const bool silent = job.algorithm.empty() && job.effort != Effort::fast && !job.data_free && !job.imatrix;
  if (!fed && silent && wanted.size() < wanted_hessians(plan, true).size())
    progress.say(LogLevel::info, "algorithm search: the second moments of all inputs have no room (--ram)");
  if (wanted.empty() || text.kind == TextPlan::Kind::none || text.kind == TextPlan::Kind::imatrix_file)
    return Hessians{};
  LISSOM_TRY(const std::string words, calibration_text(job, text, source, progress));
  LISSOM_TRY(const Tokenizer* tokenizer, source.tokenizer());
  source.unload();
  SecondMomentOptions options;
  options.calibration.chunks = job.calib_chunks;
  if (fed) options.tokens = kFeedbackTokens;
  WeighingEngine weighing;
  if (fed && !has_trellis(plan)) {
    weighing = weighing_engine(checkpoint, job, std::nullopt,
                               std::min(kFeedbackTokens, calibration_tokens(job, words)), progress);
    options.engine = weighing.engine.get();
    options.by_block = weighing.by_block;
  }
  options.calibration.runtime = Source::options(job.threads);
  return collect_second_moments(checkpoint, *tokenizer, words, wanted, options, progress);
}

Result<Json> make_pack(const Checkpoint& checkpoint, const CompressJob& job, const PackTarget& target,
                       const Progress& progress) {
  const PackOptions options{.scheme = target.scheme,
                            .importance = target.importance,
                            .hessians = target.hessians,
                            .threads = job.threads,
                            .source_digest = target.source_digest};
  LISSOM_TRY(const CompressResult packed, compress_to_pack(checkpoint, target.out, options, progress));
  Json result = result_json(packed, target.scheme);
  result["format"] = job.format;
  for (size_t i = 0; i < packed.tensors.size(); ++i)
    if (packed.tensors[i].fed_back) result["tensors"][i]["algorithm"] = kErrorFeedback;
  if (target.record || job.report) {
    LISSOM_TRY(result["sha256"], file_sha256(target.out));
  }
  return result;
}

}  // namespace lissom
