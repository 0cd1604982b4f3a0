#include "pipeline/compress_job.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "base/file.h"
#include "base/threads.h"
#include "compress/algorithms/error_feedback/error_feedback.h"
#include "compress/calibrate.h"
#include "compress/digest.h"
#include "compress/distill.h"
#include "compress/header.h"
#include "compress/pack.h"
#include "data/overlap.h"
#include "format/safetensors.h"
#include "hub/hub.h"
#include "hub/shards.h"
#include "lissom/compress.h"
#include "lissom/engine.h"
#include "lissom/eval.h"
#include "lissom/gguf.h"
#include "pipeline/feedback.h"
#include "pipeline/fold_job.h"
#include "pipeline/folder_job.h"
#include "pipeline/forecast.h"
#include "pipeline/health.h"
#include "pipeline/learning.h"
#include "pipeline/machine.h"
#include "pipeline/pack_job.h"
#include "pipeline/record.h"
#include "pipeline/search_job.h"
#include "pipeline/texts.h"
#include "report/report.h"

namespace lissom {
namespace {

namespace fs = std::filesystem;

/// Kept in the output folder. Not .gguf, though it is one: what ends so there is a model.
constexpr const char* kStatistics = "statistics.imatrix";
/// Long runs that two unrelated texts share are rare; boilerplate accounts for some.
constexpr double kMostShared = 0.1, kRunBytes = 60;

struct Target {
  Scheme scheme;
  Plan plan;
  fs::path out;
  std::string key;  ///< all that its result depends on
  /// Scheme and plan stand in for what a search is still to choose.
  bool searched = false;
  std::optional<FoldedTarget> folded = {};  ///< with --fold, from when the target is made
};

/// One run of the job: what is known so far.
struct Run {
  Run(const CompressJob& the_job, const Progress& the_progress) : job(the_job), progress(the_progress) {}

  const CompressJob& job;
  const Progress& progress;
  Checkpoint checkpoint;
  std::string digest;
  /// The weights may still be on their way: of what the job needs only the encoding reads them, so that it
  /// begins with the first of them and finds their digest itself. Else empty.
  std::string source_identity;
  bool folder = false, verify = true, data_free = false;
  std::vector<Target> targets;
  TextPlans texts;
  std::vector<std::string> warnings;

  std::optional<Importance> importance;
  std::string calibration;           ///< the text, where a search wants it
  std::optional<Learning> learning;  ///< where values are learned
  DistillText learning_text;
  std::string evaluation;  ///< the text
  std::vector<std::vector<int32_t>> prompts;
  std::optional<Health> base_health;
  std::string disjoint;
  Json results = Json::array();
  bool prepared = false;

  /// What a target's codecs are given: the source, or what was folded from it.
  [[nodiscard]] const Checkpoint& model(const Target& target) const {
    return target.folded ? target.folded->checkpoint : checkpoint;
  }
  [[nodiscard]] const std::optional<Importance>& statistics(const Target& target) const {
    return target.folded ? target.folded->importance : importance;
  }
};

void warn(Run& run, const std::string& text) {
  run.warnings.push_back(text);
  run.progress.say(LogLevel::warning, text);
}

std::string stem_of(const Checkpoint& checkpoint) {
  fs::path path = checkpoint.path;
  if (!path.has_filename()) path = path.parent_path();
  const std::string name = path.extension() == ".gguf" ? path.stem().string() : hub::display_name_of(path);
  return name.empty() || name == "." || name == ".." ? "model" : name;
}

// ---------------------------------------------------------------- what to make

/// What stands in for the scheme that a search will choose: of the size that its file may have.
Result<Scheme> searched_scheme(const Run& run) {
  LISSOM_CHECK(search::check_size(run.checkpoint, search_limits(run.job), true));
  Scheme scheme;
  if (run.job.bits_per_weight > 0 || run.job.file_bytes > 0) {
    auto fits = pick_scheme(run.checkpoint, run.job.bits_per_weight, run.job.file_bytes, true);
    if (!fits) fits = builtin_scheme("size");
    LISSOM_TRY(scheme, std::move(fits));
  } else {
    LISSOM_TRY(scheme, builtin_scheme("Q8_0"));
  }
  scheme.name = "search";
  return scheme;
}

/// The scheme of a job that names none.
Result<Scheme> unnamed_scheme(Run& run, bool& searched) {
  const CompressJob& job = run.job;
  if (writes_pack(job)) return find_pack_scheme("lissom_4");
  if (wants_search(job)) {
    const std::string obstacle = search_obstacle(run.checkpoint, job, run.data_free);
    searched = obstacle.empty();
    if (searched) return searched_scheme(run);
    run.progress.say(LogLevel::info, "no search, a built-in scheme is taken: " + obstacle);
  }
  if (job.bits_per_weight > 0 || job.file_bytes > 0)
    return pick_scheme(run.checkpoint, job.bits_per_weight, job.file_bytes, !run.data_free);
  return builtin_scheme("balanced");
}

Result<void> resolve_targets(Run& run) {
  const CompressJob& job = run.job;
  if (writes_folder(job)) {
    LISSOM_TRY(FolderPlan folder, plan_folder(run.checkpoint, job, stem_of(run.checkpoint)));
    run.targets.push_back({std::move(folder.scheme), std::move(folder.plan), std::move(folder.out), ""});
    return {};
  }
  const bool pack = writes_pack(job);
  if (pack && (job.bits_per_weight > 0 || job.file_bytes > 0))
    return bad_input("--format pack: name a scheme; a size needs GGUF");
  std::vector<Scheme> schemes;
  for (const std::string& name : job.schemes) {
    LISSOM_TRY(schemes.emplace_back(), pack ? find_pack_scheme(name) : find_scheme(name));
  }
  if ((job.bits_per_weight > 0 || job.file_bytes > 0) && !schemes.empty())
    return bad_input("a size and a scheme: give one of the two");
  bool searched = false;
  if (schemes.empty()) {
    LISSOM_TRY(schemes.emplace_back(), unnamed_scheme(run, searched));
  }
  std::error_code code;
  run.folder =
      schemes.size() > 1 || fs::is_directory(job.out, code) || (!job.out.empty() && !job.out.has_filename());
  if (schemes.size() > 1 && job.out.extension() == file_extension(job))
    return bad_input(job.out.string() + ": several targets need a folder as output");
  for (Scheme& scheme : schemes) {
    Target target;
    const std::string name = fmt::format("{}-{}{}", stem_of(run.checkpoint), scheme.name, file_extension(job));
    target.out = run.folder || job.out.empty() ? job.out / name : job.out;
    for (const Target& other : run.targets)
      if (other.out == target.out) return bad_input("the scheme " + scheme.name + " is given twice");
    LISSOM_TRY(target.plan,
               make_plan_for(run.checkpoint, scheme, !run.data_free, pack ? PlanFor::pack : PlanFor::gguf));
    target.scheme = std::move(scheme);
    target.searched = searched;
    run.targets.push_back(std::move(target));
  }
  return {};
}

/// An encoder predicts no next token: it neither samples text nor has a perplexity.
Result<void> adapt_to_model(Run& run) {
  const bool predicts = run.checkpoint.graph.logits >= 0 && run.checkpoint.config.causal;
  run.verify = run.job.verify;
  run.data_free = run.job.data_free;
  if (predicts) return {};
  if (run.job.max_kld || run.job.max_ppl_delta)
    return bad_input("this model predicts no next token, so that it has no perplexity or divergence to limit");
  if (run.verify) warn(run, "not evaluated: this model predicts no next token");
  run.verify = false;
  if (!run.data_free && !run.job.calib && !run.job.imatrix) {
    warn(run, "no statistics: this model cannot sample text; give it some with --calib");
    run.data_free = true;
  }
  return {};
}

/// The job as the model allows it.
CompressJob effective_of(const Run& run) {
  CompressJob job = run.job;
  job.verify = run.verify;
  job.data_free = run.data_free;
  return job;
}

/// Weights that are fetched while they are read: how, and whether the job can be done so.
Result<void> plan_shards(Run& run) {
  hub::Shards* shards = run.checkpoint.shards.get();
  if (shards == nullptr) return {};
  const CompressJob& job = run.job;
  const bool statistics = !run.data_free && !job.imatrix, several = run.targets.size() > 1;
  const bool folder = writes_folder(job) || writes_pack(job), searched = run.targets.front().searched;
  if (!statistics && !several && !folder && !searched && !job.folds.any()) {
    LISSOM_TRY(const auto metadata, CheckpointDigest::begin(run.checkpoint));
    run.source_identity = "hub:" + sha256_hex(metadata->finish() + "\n" + shards->identity());
  }
  std::string whole;
  const auto needs = [&](bool it_does, const char* what) {
    if (it_does) whole += (whole.empty() ? "" : "; ") + std::string(what);
  };
  needs(statistics, "for statistics (--calib none or --imatrix FILE does without)");
  needs(run.verify, "for the evaluation (--no-verify does without)");
  needs(several, "for several targets (make one at a time)");
  needs(job.folds.any(), "for --fold");
  needs(searched, "for the search (--scheme does without)");
  needs(folder, "for this format, whose digest comes first");
  if (job.disk > 0 && !whole.empty() && shards->missing() > job.disk)
    return bad_input(
        fmt::format("--disk {}: {} bytes of this model's weights are not here, and it is needed whole {}",
                    job.disk, shards->missing(), whole));
  if (job.disk > 0 && whole.empty()) shards->set_bound(job.disk);
  std::vector<size_t> all(run.checkpoint.tensors->tensors().size());
  std::iota(all.begin(), all.end(), size_t{0});
  return run.checkpoint.tensors->expect(all);
}

/// The source, as far as its headers tell, and what is to be made of it.
Result<void> open_source(Run& run) {
  const CompressJob& job = run.job;
  const OpenOptions options{.revision = job.revision, .stream = true, .disk = job.disk};
  LISSOM_TRY(run.checkpoint, open_checkpoint(job.model, options, run.progress));
  LISSOM_CHECK(adapt_to_model(run));
  LISSOM_CHECK(check_folds(run.checkpoint, job, run.data_free));
  LISSOM_CHECK(resolve_targets(run));
  return plan_shards(run);
}

std::string fold_key(const CompressJob& job) {
  return job.folds.any() ? "\nfold " + fold_description(job.folds) : "";
}

void make_keys(Run& run) {
  for (Target& target : run.targets) {
    std::string codecs;
    const CompressJob& job = run.job;
    if (target.searched) codecs = search_description(job);
    for (const PlanEntry& entry : target.plan.entries)
      if (!target.searched) codecs += entry.tensor + " " + entry.codec + "\n";
    target.key = sha256_hex(fmt::format(
        "{}\n{}\n{}\n{}\n{} {}\n{} {} {}\n{}\n{}{}{}", LISSOM_VERSION, run.source_identity + run.digest,
        target.scheme.name, codecs, run.texts.calibration.description, job.calib_chunks,
        run.texts.evaluation.description, job.eval_chunks, job.context, job.seed,
        feeds_back(job, run.learning) ? std::string(kErrorFeedback) + " " : "",
        run.learning ? run.learning->description() : "", fold_key(job)));
  }
}

// ---------------------------------------------------------------- statistics and texts

Result<void> check_disjoint(Run& run, const std::string& calibration, const Tokenizer& tokenizer) {
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
void warn_of_starved_experts(Run& run, const Importance& importance) {
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

Result<void> make_importance(Run& run, Source& source) {
  const CompressJob& job = run.job;
  const TextPlan& plan = run.texts.calibration;
  if (plan.kind == TextPlan::Kind::imatrix_file) {
    LISSOM_TRY(run.importance, read_imatrix(plan.path));
    run.disjoint = "unknown: the text behind the statistics is not here";
    return {};
  }
  const std::string dataset = fmt::format("{}, at most {} chunks", plan.description, job.calib_chunks);
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

Result<void> make_prompts(Run& run, Source& source) {
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

Result<void> prepare_evaluation(Run& run, Source& source) {
  if (!run.verify || !run.evaluation.empty()) return {};
  LISSOM_TRY(run.evaluation, evaluation_text(run.job, run.texts.evaluation, source, run.progress));
  return {};
}

/// Everything that needs the source model to run, once, before the first target that is not finished. Of a
/// model that is still coming, what judges it has time until it is here.
Result<void> prepare(Run& run) {
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

// ---------------------------------------------------------------- one target

Json health_json(const Health& health, const std::optional<Health>& base) {
  Json json = {{"repetition", health.repetition}, {"early_stop", health.early_stop}, {"tokens", health.tokens}};
  if (base) {
    json["repetition_base"] = base->repetition;
    json["early_stop_base"] = base->early_stop;
  }
  return json;
}

Result<void> verify_target(Run& run, const Target& target, Json& result) {
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
Result<Json> search_for(Run& run, Target& target) {
  Source source(run.model(target), run.job.threads);
  if (run.calibration.empty()) {
    LISSOM_TRY(run.calibration, search_text(run.job, run.texts.calibration, source, run.progress));
  }
  const std::string key =
      sha256_hex(fmt::format("{}\n{}\n{} {}{}", run.digest, run.texts.calibration.description,
                             run.job.calib_chunks, run.job.seed, fold_key(run.job)));
  LISSOM_TRY(const search::Found found, run_search(run.job, target.out, key, run.calibration,
                                                   run.statistics(target), source, run.progress));
  target.scheme = found.scheme;
  LISSOM_TRY(target.plan, make_plan(run.model(target), target.scheme, !run.data_free));
  return search_json(found, target.out);
}

/// Leaves the values that the target is to be encoded from in `state`. `start`: see distill().
Result<Json> learn(Run& run, const Target& target, const TensorSource* start, const fs::path& state) {
  Source source(run.checkpoint, run.job.threads);
  if (run.learning_text.tokens.empty()) {
    LISSOM_TRY(run.learning_text,
               learning_text(run.job, run.texts.calibration, *run.learning, source, run.progress));
  }
  source.unload();
  DistillOptions options;
  options.tokens = run.learning->tokens;
  options.seed = run.job.seed;
  options.threads = run.job.threads;
  options.key = target.key;
  LISSOM_TRY(const Distillation done,
             distill(run.model(target), target.plan, run.statistics(target), *run.learning->engine,
                     run.learning_text, start, state, options, run.progress));
  return Json{{"engine", run.learning->engine->description()},
              {"tokens", done.tokens},
              {"text_tokens", run.learning_text.tokens.size()},
              {"steps", done.steps},
              {"skipped_steps", done.skipped},
              {"kld_first", done.first_kld},
              {"kld_last", done.last_kld},
              {"seconds", done.seconds}};
}

Result<Json> make_gguf_target(Run& run, const Target& target) {
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
  bool fed = feeds_back(run.job, run.learning);
  if (const std::string why = fed ? feedback_obstacle(run.checkpoint, run.job, target.plan) : "";
      !why.empty()) {
    if (!run.job.algorithm.empty()) return unsupported(why);
    run.progress.say(LogLevel::info, "algorithm search: " + why);
    fed = false;
  }
  if (fed) {
    LISSOM_TRY(feedback, run_feedback(run.model(target), run.job, run.texts.calibration, target.plan,
                                      run.statistics(target), run.learning.has_value(), rounded, target.key,
                                      run.progress));
    LISSOM_TRY(options.learned, GgufFile::open(rounded));
    options.algorithm = std::string(kErrorFeedback) + " " + target.key;
  }
  if (run.learning) {
    LISSOM_TRY(learned, learn(run, target, options.learned.get(), state));
    LISSOM_TRY(options.learned, SafetensorsFile::open(state));
    options.algorithm = "distillation " + target.key;
  }
  LISSOM_TRY(const CompressResult compressed,
             compress_to_gguf(run.model(target), target.out, options, run.progress));
  run.digest = compressed.source_digest;
  Json result = result_json(compressed, target.scheme);
  if (run.learning) {
    options.learned.reset();
    std::error_code code;
    fs::remove(state, code);
    result["distillation"] = learned;
  }
  if (fed) {
    options.learned.reset();
    remove_feedback_state(rounded);
    if (run.learning) feedback["tensors"] = Json::object();  // what learning made of them is said of them
    add_feedback(std::move(feedback), result);
  }
  if (run.folder || run.job.report) {
    LISSOM_TRY(result["sha256"], file_sha256(target.out));
  }
  return result;
}

Result<Json> make_pack_target(Run& run, const Target& target) {
  PackTarget wanted{target.scheme, target.plan, target.out, run.statistics(target), run.digest, run.folder, {}};
  if (!run.data_free) {
    Source source(run.model(target), run.job.threads);
    LISSOM_TRY(wanted.hessians, collect_hessians(run.model(target), run.job, run.texts.calibration, target.plan,
                                                 source, run.progress));
  }
  return make_pack(run.model(target), run.job, wanted, run.progress);
}

Result<void> fold(Run& run, Target& target) {
  LISSOM_TRY(target.folded, fold_target(run.checkpoint, run.job, target.plan, run.importance,
                                        run.texts.calibration, run.calibration, run.progress));
  LISSOM_TRY(target.plan, make_plan_for(target.folded->checkpoint, target.scheme, !run.data_free,
                                        writes_pack(run.job) ? PlanFor::pack : PlanFor::gguf));
  return {};
}

void report_fold(const Run& run, Target& target, Json& result) {
  if (!target.folded) return;
  name_source_types(run.checkpoint, result);
  result["fold"] = std::move(target.folded->report);
}

Result<Json> make_target(Run& run, Target& target) {
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

/// Adds "limits" to a result; false where one is not met.
bool apply_limits(const CompressJob& job, Json& result) {
  result["limits"] = Json::array();
  bool met = true;
  const auto limit = [&](const char* name, const std::optional<double>& bound, double value) {
    if (!bound) return;
    const bool ok = value <= *bound;  // false for NaN
    result["limits"].push_back({{"name", name}, {"limit", *bound}, {"value", value}, {"met", ok}});
    met = met && ok;
  };
  if (!result.contains("eval")) return true;
  const Json& eval = result["eval"];
  limit("max_kld", job.max_kld, eval.value("kld_mean", 0.0));
  limit("max_ppl_delta", job.max_ppl_delta, eval.value("ppl", 0.0) - eval.value("ppl_base", 0.0));
  result["limits_met"] = met;
  return met;
}

// ---------------------------------------------------------------- the whole

Json calibration_json(const Run& run) {
  Json json = {{"description", run.texts.calibration.description}};
  if (!run.importance) return json;
  const Importance& importance = *run.importance;
  json["chunks"] = importance.chunks;
  json["chunk_size"] = importance.chunk_size;
  json["skipped_chunks"] = importance.skipped_chunks;
  json["tokens"] = importance.chunks * importance.chunk_size;
  std::string uncovered;
  int64_t count = 0;
  for (const PlanEntry& entry : run.targets.front().plan.entries) {
    if (entry.kept || importance.entries.contains(entry.tensor)) continue;
    if (++count <= 8) uncovered += (uncovered.empty() ? "" : ", ") + entry.tensor;
  }
  const auto starved = starved_experts(importance);
  if (!starved.empty()) {
    json["starved_experts"] = Json::array();
    for (const StarvedExpert& s : starved)
      json["starved_experts"].push_back({{"layer", s.layer}, {"expert", s.expert}, {"tokens", s.tokens}});
    json["enough_tokens"] = Importance::kEnoughTokens;
  }
  json["uncovered"] = count == 0 ? "none" : fmt::format("{}: {}{}", count, uncovered, count > 8 ? ", …" : "");
  return json;
}

Json report_of(const Run& run) {
  Json report = {{"report", "lissom compress"},
                 {"version", 1},
                 {"source", source_json(run.checkpoint, run.digest)},
                 {"machine", machine_json(run.job.threads)},
                 {"evaluation",
                  {{"description", run.texts.evaluation.description},
                   {"context", run.job.context},
                   {"disjoint", run.disjoint.empty() ? "–" : run.disjoint}}},
                 {"warnings", run.warnings},
                 {"results", run.results}};
  report["calibration"] = calibration_json(run);
  return report;
}

Json plan_json(const Target& target, uint64_t file_bytes) {
  Json tensors = Json::array();
  for (const PlanEntry& entry : target.plan.entries)
    tensors.push_back({{"name", entry.tensor},
                       {"from", entry.from},
                       {"codec", entry.codec},
                       {"bytes_after", entry.bytes},
                       {"reason", entry.reason},
                       {"fallback", entry.fallback},
                       {"kept", entry.kept}});
  return {{"scheme", target.scheme.name},      {"description", target.scheme.description},
          {"path", target.out.string()},       {"file_bytes", file_bytes},
          {"tensor_bytes", target.plan.bytes}, {"bits_per_weight", target.plan.bits_per_weight},
          {"tensors", std::move(tensors)}};
}

Result<void> check_job(const CompressJob& job) {
  if ((job.max_kld || job.max_ppl_delta) && !job.verify)
    return bad_input("--no-verify leaves nothing to hold against --max-kld and --max-ppl-delta");
  if (job.data_free && (job.calib || job.imatrix)) return bad_input("statistics, or none: give one of the two");
  if (job.context < 8) return bad_input("a context of fewer than 8 tokens");
  return check_algorithm(job);
}

/// Nobody should learn after hours that a job cannot finish.
Result<void> check_room(const Run& run) {
  std::vector<Scheme> schemes;
  for (const Target& target : run.targets) schemes.push_back(target.scheme);
  // A folder is evaluated as the F32 that it stands for.
  const bool folder = writes_folder(run.job);
  if (folder) {
    LISSOM_TRY(schemes.front(), builtin_scheme("F32"));
  }
  const CompressJob job = effective_of(run);
  LISSOM_TRY(const std::vector<Forecast> forecasts,
             forecast(run.checkpoint, job, schemes, job.context, run.learning, false, run.progress));
  const uint64_t memory = available_memory() + resident_memory();
  uint64_t unused = free_disk(run.targets.front().out);
  if (const hub::Shards* shards = run.checkpoint.shards.get(); shards != nullptr) {
    LISSOM_CHECK(shards->check_disk());
    if (unused > 0 && same_disk(shards->cache_folder(), run.targets.front().out))
      unused -= std::min(unused - 1, shards->disk_room());  // 0 would mean that nothing is known
  }
  uint64_t taken = 0;
  for (size_t i = 0; i < forecasts.size(); ++i) {
    // What an earlier run has left is part of what this one needs.
    uint64_t have = 0;
    std::error_code code;
    for (const fs::path& there : {run.targets[i].out, AtomicFile::partial_path(run.targets[i].out)})
      if (const auto size = fs::file_size(there, code); !code) have += size;
    Forecast rest = forecasts[i];
    if (folder) expect_folder(run.targets[i].plan, rest);
    rest.file_bytes = taken + rest.file_bytes - std::min(have, rest.file_bytes);
    LISSOM_CHECK(lissom::check_room(rest, run.targets[i].out, memory, unused));
    taken = rest.file_bytes;
  }
  return {};
}

/// Shows a download and the work that goes on beside it as one.
class Stages {
 public:
  explicit Stages(const Progress& shown) : shown_(shown) {}
  void step(std::string_view stage, int64_t done, int64_t total, std::string_view detail) {
    if (stage == "download") {
      coming_ = done < total ? fmt::format("download {:.0f}%, ",
                                           100.0 * static_cast<double>(done) / static_cast<double>(total))
                             : "";
      if (stage_.empty()) return shown_.report(stage, done, total, detail);
    } else {
      stage_ = done < total ? stage : "";
      done_ = done;
      total_ = total;
      detail_ = detail;
      if (stage_.empty()) return shown_.report(stage, done, total, detail);
    }
    shown_.report(stage_, done_, total_, coming_ + detail_);
  }

 private:
  const Progress& shown_;
  std::string stage_, detail_, coming_;
  int64_t done_ = 0, total_ = 0;
};

/// A finished result of an earlier run, where all it depends on is the same.
std::optional<Json> take_over(Run& run, const Target& target) {
  if (!run.folder) return {};
  std::optional<Record> record = read_record(target.out, target.key);
  if (!record) return {};
  run.disjoint = record->evaluation.value("disjoint", std::string("–"));
  run.progress.say(LogLevel::info, target.out.string() + ": finished by an earlier run");
  if (run.digest.empty())
    if (const auto file = GgufFile::open(target.out))
      run.digest = (*file)->metadata().string_or("lissom.source_digest", "");
  return std::move(record->result);
}

}  // namespace

Result<CompressOutcome> run_compress(const CompressJob& job, const Progress& all) {
  LISSOM_CHECK(check_job(job));
  Stages stages(all);
  Progress progress = all;
  progress.step = [&stages](std::string_view stage, int64_t done, int64_t total, std::string_view detail) {
    stages.step(stage, done, total, detail);
  };
  // What concerns every target is said once.
  std::set<std::string, std::less<>> said;
  progress.log = [&all, &said](LogLevel level, std::string_view text) {
    if (said.emplace(text).second) all.say(level, text);
  };
  Run run(job, progress);
  LISSOM_CHECK(open_source(run));
  CompressOutcome outcome;
  if (job.dry_run) {
    for (const Target& target : run.targets) {
      uint64_t bytes = target.plan.bytes;
      if (!writes_folder(job)) {
        LISSOM_TRY(bytes, writes_pack(job) ? planned_pack_bytes(run.checkpoint, target.scheme, target.plan)
                                           : planned_file_bytes(run.checkpoint, target.scheme, target.plan));
      }
      run.results.push_back(plan_json(target, bytes));
      if (job.folds.any()) run.results.back()["fold"] = planned_folds(run.checkpoint, job.folds);
    }
    outcome.report = {{"results", run.results}, {"source", source_json(run.checkpoint, "")}};
    return outcome;
  }
  LISSOM_TRY(run.learning,
             plan_learning(run.checkpoint, effective_of(run), !run.source_identity.empty(), progress));
  if (job.check_room) LISSOM_CHECK(check_room(run));
  if (run.source_identity.empty()) {
    ThreadPool pool(job.threads);
    LISSOM_TRY(run.digest, checkpoint_digest(run.checkpoint, pool, progress));
  }
  LISSOM_TRY(run.texts, plan_texts(effective_of(run), run.source_identity + run.digest));
  make_keys(run);
  if (run.folder) {
    std::error_code code;
    fs::create_directories(job.out, code);
    if (code) return io_error(job.out.string() + ": " + code.message());
  }
  for (Target& target : run.targets) {
    std::optional<Json> earlier = take_over(run, target);
    Json result;
    if (earlier) {
      ++outcome.reused;
      result = std::move(*earlier);
    } else {
      LISSOM_TRY(result, make_target(run, target));
      if (run.folder)
        LISSOM_CHECK(write_record(target.out, {target.key, result, report_of(run)["evaluation"]}));
    }
    outcome.limits_met = apply_limits(job, result) && outcome.limits_met;
    run.results.push_back(std::move(result));
  }
  if (!run.importance && run.folder && outcome.reused > 0)
    if (auto kept = read_imatrix(job.out / kStatistics)) run.importance = std::move(*kept);
  outcome.report = report_of(run);
  if (job.report) LISSOM_CHECK(write_report(outcome.report, *job.report));
  return outcome;
}

}  // namespace lissom
