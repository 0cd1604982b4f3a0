#include "pipeline/compress_run.h"

#include <fmt/format.h>

#include "base/file.h"
#include "compress/algorithms/error_feedback/error_feedback.h"
#include "compress/digest.h"
#include "compress/distill.h"
#include "compress/pack.h"
#include "lissom/eval.h"
#include "lissom/gguf.h"
#include "pipeline/feedback.h"
#include "pipeline/folder_job.h"
#include "pipeline/pack_job.h"
#include "pipeline/record.h"
#include "pipeline/search_job.h"
#include "report/report.h"

namespace lissom {
namespace {

namespace fs = std::filesystem;

Json health_json(const Health& health, const std::optional<Health>& base) {
  Json json = {{"repetition", health.repetition}, {"early_stop", health.early_stop}, {"tokens", health.tokens}};
  if (base) {
    json["repetition_base"] = base->repetition;
    json["early_stop_base"] = base->early_stop;
  }
  return json;
}

Result<void> verify_target(CompressRun& run, const CompressTarget& target, Json& result) {
  if (!run.source_identity.empty()) {
    Source source(run.checkpoint, run.job.threads);
    LISSOM_CHECK(prepare_evaluation(run, source));
    LISSOM_CHECK(make_prompts(run, source));
  }
  LISSOM_TRY(const Checkpoint written, open_checkpoint(target.out.string()));
  EvalOptions options;
  options.context = run.job.context;
  options.chunks = run.job.eval_chunks;
  options.runtime.threads = run.job.threads;
  LISSOM_TRY(const EvalResult eval, evaluate(written, &run.checkpoint, run.evaluation, options, run.progress));
  result["eval"] = eval_json(eval);
  if (!run.prompts.empty()) {
    LISSOM_TRY(const auto model, Model::load(written, options.runtime));
    LISSOM_TRY(const Health health, check_health(model, run.prompts, kHealthTokens, run.job.seed));
    result["health"] = health_json(health, run.base_health);
    if (run.base_health && health.repetition > run.base_health->repetition + 0.2)
      result["warnings"].push_back(fmt::format(
          "generation goes round in circles: {:.0f}% of its 4-grams are repeated, the source's {:.0f}%",
          100 * health.repetition, 100 * run.base_health->repetition));
  }
  return {};
}

/// Chooses the target's scheme.
Result<Json> search_for(CompressRun& run, CompressTarget& target) {
  Source source(run.model(target), run.job.threads);
  if (run.calibration.empty()) {
    LISSOM_TRY(run.calibration, search_text(run.job, run.texts.calibration, source, run.progress));
  }
  const std::string key =
      sha256_hex(fmt::format("{}\n{}\n{} {}{}", run.digest, run.texts.calibration.description,
                             run.job.calib_chunks, run.job.seed, fold_key(run)));
  LISSOM_TRY(const search::Found found, run_search(run.job, target.out, key, run.calibration,
                                                   run.statistics(target), source, run.progress));
  target.scheme = found.scheme;
  LISSOM_TRY(target.plan, make_plan(run.model(target), target.scheme, !run.data_free));
  return search_json(found, target.out);
}

/// Leaves the values that the target is to be encoded from in `state`. `start`: see distill().
Result<Json> learn(CompressRun& run, const CompressTarget& target, const TensorSource* start,
                   const fs::path& state) {
  Source source(run.checkpoint, run.job.threads);
  if (run.learning_text.tokens.empty()) {
    LISSOM_TRY(run.learning_text,
               learning_text(run.job, run.texts.calibration, *run.effort.learning, source, run.progress));
  }
  source.unload();
  DistillOptions options;
  options.tokens = run.effort.learning->tokens;
  options.seed = run.job.seed;
  options.threads = run.job.threads;
  options.key = target.key;
  LISSOM_TRY(const Distillation done,
             distill(run.model(target), target.plan, run.statistics(target), *run.effort.learning->engine,
                     run.learning_text, start, state, options, run.progress));
  Json tensors = Json::object();
  for (const DistilledTensor& tensor : done.tensors)
    tensors[tensor.tensor] = {{"algorithm", "distillation"},
                              {"relative_error", tensor.relative_error},
                              {"weighted_relative_error", tensor.weighted_relative_error}};
  return Json{{"tensors", std::move(tensors)}, {"engine", run.effort.learning->engine->description()},
              {"tokens", done.tokens},         {"text_tokens", run.learning_text.tokens.size()},
              {"steps", done.steps},           {"skipped_steps", done.skipped},
              {"kld_first", done.first_kld},   {"kld_last", done.last_kld},
              {"kld_begun", done.begun_kld},   {"kld_learned", done.learned_kld},
              {"seconds", done.seconds}};
}

Result<Json> make_gguf_target(CompressRun& run, const CompressTarget& target) {
  CompressOptions options;
  options.scheme = target.scheme;
  options.importance = run.statistics(target);
  if (target.folded) options.algorithm = "fold " + target.key;
  options.threads = run.job.threads;
  options.seed = run.job.seed;
  options.source_digest = run.digest;
  options.source_identity = run.source_identity;
  Json feedback, learned;
  const fs::path rounded = target.out.string() + ".feedback", state = target.out.string() + ".learned";
  bool fed = run.effort.feeds_back;
  if (const std::string why = fed ? feedback_obstacle(run.checkpoint, run.job, target.plan) : "";
      !why.empty()) {
    if (!run.job.algorithm.empty()) return unsupported(why);
    run.progress.say(LogLevel::info, "algorithm search: " + why);
    fed = false;
  }
  if (fed) {
    LISSOM_TRY(feedback,
               run_feedback(run.model(target), run.job, run.texts.calibration, target.plan,
                            run.statistics(target), run.effort.learning, rounded, target.key, run.progress));
    LISSOM_TRY(options.learned, GgufFile::open(rounded));
    options.algorithm = std::string(kErrorFeedback) + " " + target.key;
  }
  if (run.effort.learning) {
    LISSOM_TRY(learned, learn(run, target, options.learned.get(), state));
    LISSOM_TRY(options.learned, GgufFile::open(state));
    options.algorithm = "distillation " + target.key;
  }
  LISSOM_TRY(const CompressResult compressed,
             compress_to_gguf(run.model(target), target.out, options, run.progress));
  run.digest = compressed.source_digest;
  Json result = result_json(compressed, target.scheme);
  options.learned.reset();
  if (fed) {
    remove_feedback_state(rounded);
    add_copied("error_feedback", std::move(feedback), result);
  }
  if (run.effort.learning) {
    std::error_code code;
    fs::remove(state, code);
    add_copied("distillation", std::move(learned), result);
  }
  if (run.folder || run.job.report) {
    LISSOM_TRY(result["sha256"], file_sha256(target.out));
  }
  return result;
}

Result<Json> make_pack_target(CompressRun& run, const CompressTarget& target) {
  PackTarget wanted{target.scheme, target.plan, target.out, run.statistics(target), run.digest, run.folder, {}};
  if (!run.data_free) {
    Source source(run.model(target), run.job.threads);
    LISSOM_TRY(wanted.hessians, collect_hessians(run.model(target), run.job, run.texts.calibration, target.plan,
                                                 source, run.progress));
  }
  return make_pack(run.model(target), run.job, wanted, run.progress);
}

Result<void> fold(CompressRun& run, CompressTarget& target) {
  LISSOM_TRY(target.folded, fold_target(run.checkpoint, run.job, target.plan, run.importance,
                                        run.texts.calibration, run.calibration, run.progress));
  LISSOM_TRY(target.plan, make_plan_for(target.folded->checkpoint, target.scheme, !run.data_free,
                                        writes_pack(run.job) ? PlanFor::pack : PlanFor::gguf));
  return {};
}

void report_fold(const CompressRun& run, CompressTarget& target, Json& result) {
  if (!target.folded) return;
  name_source_types(run.checkpoint, result);
  result["fold"] = std::move(target.folded->report);
}

}  // namespace

Result<Json> make_target(CompressRun& run, CompressTarget& target) {
  LISSOM_CHECK(prepare(run));
  if (run.job.folds.any()) LISSOM_CHECK(fold(run, target));
  Json searched;
  if (target.searched) {
    LISSOM_TRY(searched, search_for(run, target));
  }
  run.progress.say(LogLevel::info,
                   fmt::format("{}: {:.2f} bits per weight", target.out.string(), target.plan.bits_per_weight));
  if (writes_pack(run.job)) {
    LISSOM_TRY(Json packed, make_pack_target(run, target));
    packed["path"] = target.out.string();
    report_fold(run, target, packed);
    if (run.verify) LISSOM_CHECK(verify_target(run, target, packed));
    return packed;
  }
  LISSOM_TRY(Json result, writes_folder(run.job)
                              ? make_folder(run.checkpoint, run.job, {target.scheme, target.plan, target.out},
                                            run.importance, run.digest, run.progress)
                              : make_gguf_target(run, target));
  result["path"] = target.out.string();
  report_fold(run, target, result);
  if (target.searched) result["search"] = std::move(searched);
  if (run.verify) LISSOM_CHECK(verify_target(run, target, result));
  std::error_code code;
  if (target.searched) fs::remove(search_journal(target.out), code);
  return result;
}

}  // namespace lissom
