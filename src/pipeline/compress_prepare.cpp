#include "pipeline/compress_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "compress/algorithms/fold/pad_ffn.h"
#include "compress/calibrate.h"
#include "data/overlap.h"

namespace lissom {
namespace {

namespace fs = std::filesystem;

/// Long runs that two unrelated texts share are rare; boilerplate accounts for some.
constexpr double kMostShared = 0.1, kRunBytes = 60;

Result<void> check_disjoint(CompressRun& run, const std::string& calibration, const Tokenizer& tokenizer) {
  const auto calibration_ids = tokenizer.encode(calibration, false).ids;
  const auto evaluation_ids = tokenizer.encode(run.evaluation, false).ids;
  // 13 tokens are customary, for vocabularies of words. Where tokens are short, the same number of characters.
  const double bytes = static_cast<double>(run.evaluation.size()) /
                       static_cast<double>(std::max<size_t>(evaluation_ids.size(), 1));
  const auto length = std::max<int64_t>(13, std::llround(kRunBytes / std::max(bytes, 1.0)));
  const double shared = shared_runs(evaluation_ids, calibration_ids, length);
  const std::string found =
      fmt::format("{:.2f}% of its runs of {} tokens occur in the calibration text", 100 * shared, length);
  if (shared > kMostShared)
    return bad_input("the evaluation text is not disjoint from the calibration text: " + found +
                     "; give another --eval-text");
  run.disjoint = "yes: " + found;
  return {};
}

/// Which experts of a mixture the calibration text hardly reached.
void warn_of_starved_experts(CompressRun& run, const Importance& importance) {
  std::string list;
  int64_t count = 0, layer = -1;
  for (const StarvedExpert& s : starved_experts(importance)) {
    if (++count > 24) continue;
    list += s.layer == layer
                ? fmt::format(", {} ({})", s.expert, s.tokens)
                : fmt::format("{}layer {}: {} ({})", layer < 0 ? "" : "; ", s.layer, s.expert, s.tokens);
    layer = s.layer;
  }
  if (count == 0) return;
  warn(run, fmt::format("{} experts saw fewer than {} calibration tokens and are encoded by the mean of their "
                        "layer's: {}{}",
                        count, Importance::kEnoughTokens, list, count > 24 ? "; …" : ""));
}

Result<void> make_importance(CompressRun& run, Source& source) {
  const CompressJob& job = run.job;
  const TextPlan& plan = run.texts.calibration;
  if (plan.kind == TextPlan::Kind::imatrix_file) {
    LISSOM_TRY(run.importance, read_imatrix(plan.path));
    if (run.unpadded) pad_importance(run.checkpoint, run.unpadded->config.ff, *run.importance);
    run.disjoint = "unknown: the text behind the statistics is not here";
    return {};
  }
  const std::string dataset = fmt::format("{}, at most {} chunks{}", plan.description, job.calib_chunks,
                                          run.unpadded ? ", FFN padded" : "");
  const fs::path kept = run.folder ? job.out / kStatistics : fs::path();
  std::error_code code;
  if (run.folder && fs::exists(kept, code)) {
    if (auto earlier = read_imatrix(kept); earlier && earlier->datasets == std::vector<std::string>{dataset}) {
      run.importance = std::move(*earlier);
      run.progress.say(LogLevel::info, "statistics taken over from " + kept.string());
      if (plan.kind == TextPlan::Kind::sampled) {
        run.disjoint = "yes: sampled with another seed";
        return {};
      }
    }
  }
  LISSOM_TRY(const std::string text, calibration_text(job, plan, source, run.progress));
  LISSOM_TRY(const Tokenizer* tokenizer, source.tokenizer());
  if (run.targets.front().searched || run.job.folds.any()) run.calibration = text;
  if (run.verify) LISSOM_CHECK(check_disjoint(run, text, *tokenizer));
  if (!run.importance) {
    source.unload();  // it was only needed to write text
    CalibrationOptions options;
    options.chunks = job.calib_chunks;
    options.runtime = Source::options(job.threads);
    LISSOM_TRY(run.importance,
               collect_importance(run.checkpoint, *tokenizer, text, dataset, options, run.progress));
    if (run.folder) LISSOM_CHECK(write_imatrix(*run.importance, kept));
  }
  return {};
}

}  // namespace

Result<void> make_prompts(CompressRun& run, Source& source) {
  LISSOM_TRY(const Tokenizer* tokenizer, source.tokenizer());
  const auto ids = tokenizer->encode(run.evaluation, false).ids;
  const size_t stride = ids.size() / size_t{kHealthPrompts};
  if (stride < size_t{kPromptTokens}) return {};
  for (size_t i = 0; i < size_t{kHealthPrompts}; ++i) {
    const auto begin = ids.begin() + static_cast<ptrdiff_t>(i * stride);
    run.prompts.emplace_back(begin, begin + ptrdiff_t{kPromptTokens});
  }
  LISSOM_TRY(const auto model, source.model());
  LISSOM_TRY(run.base_health, check_health(model, run.prompts, kHealthTokens, run.job.seed));
  return {};
}

Result<void> prepare_evaluation(CompressRun& run, Source& source) {
  if (!run.verify || !run.evaluation.empty()) return {};
  LISSOM_TRY(run.evaluation, evaluation_text(run.job, run.texts.evaluation, source, run.progress));
  return {};
}

Result<void> prepare(CompressRun& run) {
  if (run.prepared) return {};
  Source source(run.checkpoint, run.job.threads);
  const bool coming = !run.source_identity.empty();
  if (!coming) LISSOM_CHECK(prepare_evaluation(run, source));
  if (!run.data_free) LISSOM_CHECK(make_importance(run, source));
  if (run.importance) warn_of_starved_experts(run, *run.importance);
  if (run.verify && !coming) LISSOM_CHECK(make_prompts(run, source));
  if (run.job.save_imatrix) {
    if (!run.importance) return bad_input("--save-imatrix: there are no statistics to save");
    LISSOM_CHECK(write_imatrix(*run.importance, *run.job.save_imatrix));
  }
  run.prepared = true;
  return {};
}

}  // namespace lissom
