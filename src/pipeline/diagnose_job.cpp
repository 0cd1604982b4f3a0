#include "pipeline/diagnose_job.h"

#include <fmt/format.h>

#include <algorithm>

#include "data/calibration.h"
#include "data/text.h"
#include "eval/diagnose/diagnose.h"
#include "lissom/gguf.h"
#include "pipeline/health.h"
#include "pipeline/texts.h"
#include "report/diagnosis.h"
#include "report/report.h"

namespace lissom {
namespace {

constexpr uint64_t kTextSeed = 0x64696167U;
/// How much worse than the base's a share of bad continuations may be: a few of so many are chance.
constexpr double kWorse = 0.3;
constexpr const char* kPrompts[] = {
    "The meaning of life is",       "Once upon a time there was", "The capital of France is",
    "In the beginning of the war,", "Water boils when",           "She opened the door and",
};
constexpr size_t kContinuations = 2;  ///< of a prompt, sampled

struct Run {
  const DiagnoseJob& job;
  const Progress& progress;
  Checkpoint base, model;
  std::unique_ptr<Tokenizer> tokenizer;
  std::string text;  ///< description
  Windows windows;
  Diagnosis found;
  Json health;
  std::vector<std::string> reasons;  ///< faults that generation and limits show
  Json limits = Json::array();
};

bool predicts(const Checkpoint& checkpoint) {
  return checkpoint.config.causal && checkpoint.graph.logits >= 0 && checkpoint.config.labels.empty();
}

Result<void> check(const DiagnoseJob& job) {
  if (job.context < 8) return bad_input("--ctx " + std::to_string(job.context) + ": at least 8");
  if (job.chunks < 0) return bad_input("--chunks " + std::to_string(job.chunks) + ": 0 or more");
  if (job.chunks == 0 && !job.text)
    return bad_input("--chunks 0 means the whole text: give one with --text FILE");
  return {};
}

Result<void> open(Run& run) {
  const DiagnoseJob& job = run.job;
  LISSOM_CHECK(check(job));
  // Everything cheap that can be wrong is found before a model is run.
  if (job.text) LISSOM_CHECK(read_text(*job.text));
  LISSOM_TRY(run.base, open_checkpoint(job.base, {.revision = job.revision}, run.progress));
  LISSOM_TRY(run.model, open_checkpoint(job.compressed, {.need_tokenizer = false}, run.progress));
  LISSOM_CHECK(check_same_model(run.base, run.model));
  if (!predicts(run.base) && job.max_kld)
    return unsupported(run.base.path.string() + ": a model of architecture " + run.base.config.arch +
                       " predicts no next token, so there is no divergence to hold against --max-kld");
  LISSOM_TRY(run.tokenizer, Tokenizer::from_gguf(*run.base.metadata, run.base.path.string()));
  return {};
}

Result<void> make_windows(Run& run, Source& source) {
  const DiagnoseJob& job = run.job;
  int64_t context = job.context;
  if (run.base.config.context > 0) context = std::min(context, run.base.config.context);
  std::string text;
  if (job.text) {
    LISSOM_TRY(text, read_text(*job.text));
    run.text = job.text->filename().string();
  } else if (!predicts(run.base)) {
    return bad_input(run.base.path.string() + ": a model of architecture " + run.base.config.arch +
                     " writes no text of its own: give one with --text FILE");
  } else {
    LISSOM_TRY(const auto model, source.model());
    OwnText own;
    own.tokens = (job.chunks + 1) * context * 9 / 8;
    own.seed = job.seed ^ kTextSeed;
    own.threads = job.runtime.threads;
    LISSOM_TRY(text, sample_calibration_text(model, *run.tokenizer, own, run.progress));
    run.text = fmt::format("sampled from the base itself, seed {}", job.seed);
  }
  LISSOM_TRY(run.windows, cut_windows(*run.tokenizer, text, context, job.chunks));
  for (const int32_t token : run.windows.tokens)
    if (token < 0 || token >= run.base.config.vocab)
      return bad_input(run.base.path.string() + ": the tokenizer gives token " + std::to_string(token) +
                       ", but the model knows " + std::to_string(run.base.config.vocab));
  return {};
}

// ---------------------------------------------------------------- generations

struct Mode {
  const char* name;
  float temperature;
  std::vector<std::vector<int32_t>> prompts;
};

std::vector<Mode> modes_of(const Tokenizer& tokenizer) {
  Mode greedy{"greedy", 0, {}}, sampled{"sampled", 0.8F, {}};
  for (const char* prompt : kPrompts) {
    const auto ids = tokenizer.encode(prompt, true).ids;
    if (ids.empty()) continue;
    greedy.prompts.push_back(ids);
    for (size_t i = 0; i < kContinuations; ++i) sampled.prompts.push_back(ids);
  }
  return {std::move(greedy), std::move(sampled)};
}

Json health_json(const Health& h, const Tokenizer& tokenizer) {
  Json texts = Json::array();
  for (const auto& text : h.texts) texts.push_back(tokenizer.decode(text, false));
  Json json = {{"one_word", h.one_word},
               {"repetition", h.repetition},
               {"early_stop", h.early_stop},
               {"tokens", h.tokens}};
  if (!h.texts.empty()) json["example"] = texts.front();
  json["texts"] = std::move(texts);
  return json;
}

void compare_health(Run& run, const Mode& mode, const Health& base, const Health& model) {
  const auto worse = [&](const char* what, double ours, double theirs) {
    if (ours <= theirs + kWorse) return;
    run.reasons.push_back(fmt::format("generation ({}): {} {:.0f}%, the base's {:.0f}%", mode.name, what,
                                      100 * ours, 100 * theirs));
  };
  worse("continuations that repeat one word for ever:", model.one_word, base.one_word);
  worse("continuations that stop within 8 tokens:", model.early_stop, base.early_stop);
  // Greedily, small models go round in circles sooner or later; when is chance.
  if (mode.temperature > 0) worse("repeated 4-grams:", model.repetition, base.repetition);
}

Result<void> check_generation(Run& run, Source& source) {
  if (!run.job.generate || !predicts(run.base)) return {};
  std::vector<Mode> modes = modes_of(*run.tokenizer);
  int64_t tokens = kHealthTokens;
  size_t longest = 0;
  for (const auto& prompt : modes.front().prompts) longest = std::max(longest, prompt.size());
  if (run.base.config.context > 0)
    tokens = std::min(tokens, run.base.config.context - static_cast<int64_t>(longest) - 1);
  if (tokens < 8) return {};
  std::vector<Health> base;
  {
    LISSOM_TRY(const auto model, source.model());
    for (const Mode& m : modes) {
      LISSOM_TRY(base.emplace_back(), check_health(model, m.prompts, tokens, run.job.seed, m.temperature));
    }
  }
  source.unload();
  LISSOM_TRY(const auto model, Model::load(run.model, run.job.runtime));
  for (size_t i = 0; i < modes.size(); ++i) {
    LISSOM_TRY(const Health ours,
               check_health(model, modes[i].prompts, tokens, run.job.seed, modes[i].temperature));
    run.health[modes[i].name] = {{"compressed", health_json(ours, *run.tokenizer)},
                                 {"base", health_json(base[i], *run.tokenizer)}};
    compare_health(run, modes[i], base[i], ours);
    run.progress.report("generate", static_cast<int64_t>(i) + 1, static_cast<int64_t>(modes.size()),
                        modes[i].name);
  }
  return {};
}

// ---------------------------------------------------------------- the whole

void apply_limits(Run& run) {
  if (!run.job.max_kld || !run.found.logits.measured) return;
  const double value = run.found.logits.eval.kld_mean.value;
  const bool met = value <= *run.job.max_kld;  // false for NaN
  run.limits.push_back({{"name", "max_kld"}, {"limit", *run.job.max_kld}, {"value", value}, {"met", met}});
  if (!met) run.reasons.push_back(fmt::format("--max-kld {:g} is not met: {:.6g}", *run.job.max_kld, value));
}

Json report_of(const Run& run, bool healthy) {
  Json report = {{"report", kDiagnosis},
                 {"version", 1},
                 {"source", source_json(run.base, "")},
                 {"compressed", source_json(run.model, "")},
                 {"machine", machine_json(run.job.runtime.threads)},
                 {"evaluation",
                  {{"description", run.text},
                   {"context", run.windows.context},
                   {"windows", run.found.windows},
                   {"tokens", run.found.tokens},
                   {"exact", run.job.runtime.exact}}},
                 {"health", run.health},
                 {"limits", run.limits}};
  Json found = diagnosis_json(run.found);
  report["verdict"] = {{"healthy", healthy}, {"summary", found["summary"]}, {"reasons", run.reasons}};
  found.erase("summary");
  report.update(found);
  return report;
}

}  // namespace

Result<DiagnoseOutcome> run_diagnose(const DiagnoseJob& job, const Progress& progress) {
  Run run{job, progress, {}, {}, {}, {}, {}, {}, {}, {}};
  LISSOM_CHECK(open(run));
  {
    Source source(run.base, job.runtime.threads);
    LISSOM_CHECK(make_windows(run, source));
    LISSOM_CHECK(check_generation(run, source));
  }
  DiagnoseOptions options;
  options.all_tensors = job.all_tensors;
  options.scan_seconds = job.scan_seconds;
  options.runtime = job.runtime;
  LISSOM_CHECK(diagnose(run.base, run.model, run.windows, options, progress, run.found));
  apply_limits(run);
  DiagnoseOutcome outcome;
  outcome.healthy = run.found.culprits.empty() && run.reasons.empty();
  outcome.interrupted = run.found.interrupted;
  outcome.report = report_of(run, outcome.healthy);
  if (job.report) LISSOM_CHECK(write_report(outcome.report, *job.report));
  return outcome;
}

}  // namespace lissom
