#include "pipeline/forecast.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>

#include "base/threads.h"
#include "compress/algorithms/error_feedback/error_feedback.h"
#include "compress/calibrate.h"
#include "compress/digest.h"
#include "compress/header.h"
#include "compress/pack.h"
#include "data/calibration.h"
#include "eval/passes.h"
#include "hub/shards.h"
#include "lissom/gguf.h"
#include "lissom/runtime.h"
#include "pipeline/feedback.h"
#include "pipeline/fold_job.h"
#include "pipeline/health.h"
#include "pipeline/machine.h"
#include "pipeline/measure.h"
#include "pipeline/pack_job.h"
#include "pipeline/texts.h"

namespace lissom {
namespace {

constexpr int64_t kCalibrationContext = CalibrationOptions{}.context;
/// What a tokenizer takes per token: its text, its place in two maps, its merge.
constexpr uint64_t kTokenizerBytes = 350;
/// Text of which a token has fewer bytes is rare; English has four to five.
constexpr int64_t kBytesPerToken = 3;
/// What the allocator still holds of freed buffers while weights come and go by stages: nothing to 30 MB.
constexpr uint64_t kHeldFree = uint64_t{16} << 20;

/// Error feedback in units of what is measured: how often it looks at a weight as an encoder does, and what the
/// pass over the text takes with the second moments.
constexpr double kFeedbackEncodings = 12, kFeedbackPasses = 1.5;
/// What a pass for the tokens' weights takes of one that learns, which has a teacher and gradients of weights.
constexpr double kGradientShare = 0.4;

double as_double(uint64_t n) {
  return static_cast<double>(n);
}

/// What is the same for all targets.
struct Common {
  const Checkpoint& checkpoint;
  const CompressJob& job;
  const EffortPlan& effort;
  int threads = 1;
  bool predicts = false, samples_calibration = false, samples_evaluation = false, calibrates = false,
       evaluates = false;
  uint64_t process = 0;                                ///< resident anyway: code, metadata
  uint64_t tokenizer = 0;                              ///< where text is read or written
  int64_t sampled = 0, calibrated = 0, evaluated = 0;  ///< tokens
};

Common common_of(const Checkpoint& checkpoint, const CompressJob& job, const EffortPlan& effort) {
  Common c{checkpoint, job, effort};
  c.threads = job.threads > 0 ? job.threads : physical_cores();
  c.predicts = checkpoint.graph.logits >= 0 && checkpoint.config.causal && checkpoint.config.labels.empty();
  c.evaluates = job.verify && c.predicts;
  c.calibrates = !job.data_free && !job.imatrix && (c.predicts || job.calib);
  c.samples_calibration = c.calibrates && !job.calib;
  c.samples_evaluation = c.evaluates && !job.eval_text && !(job.calib && !job.imatrix);
  if (c.evaluates) c.evaluated = evaluated_windows(job) * job.context;
  if (c.samples_calibration) c.sampled += job.sample_tokens;
  if (effort.learning && !job.calib) c.sampled += effort.learning->sampled_tokens(job);
  if (c.samples_evaluation) c.sampled += sampled_evaluation_tokens(job);
  c.calibrated = c.samples_calibration ? job.sample_tokens : job.calib_chunks * kCalibrationContext;
  if (job.calib_chunks > 0) c.calibrated = std::min(c.calibrated, job.calib_chunks * kCalibrationContext);
  std::error_code code;
  if (job.calib)
    if (const auto bytes = std::filesystem::file_size(*job.calib, code); !code) {
      const auto all = std::max<int64_t>(static_cast<int64_t>(bytes) / kBytesPerToken, 1);
      c.calibrated = c.calibrated > 0 ? std::min(c.calibrated, all) : all;
    }
  if (!c.calibrates) c.calibrated = 0;
  c.process = resident_memory();
  c.tokenizer = static_cast<uint64_t>(checkpoint.config.vocab) * kTokenizerBytes;
  return c;
}

std::vector<TensorInfo> list_of(const Checkpoint& checkpoint) {
  const auto tensors = checkpoint.tensors->tensors();
  return {tensors.begin(), tensors.end()};
}

// ---------------------------------------------------------------- memory

Result<uint64_t> model_memory(const Common& c, const std::vector<TensorInfo>& tensors, const Load& load,
                              const RuntimeOptions& options = {}) {
  LISSOM_TRY(const MemoryNeed need, memory_needed(c.checkpoint.graph, tensors, options, load));
  return need.peak();
}

/// The source at work: statistics, sampled texts, the beginnings for the health check.
Result<uint64_t> statistics_memory(const Common& c, const std::vector<TensorInfo>& source) {
  uint64_t most = 0;
  const auto add = [&](const Load& load) -> Result<void> {
    LISSOM_TRY(const uint64_t bytes, model_memory(c, source, load, Source::options(c.job.threads)));
    most = std::max(most, bytes);
    return {};
  };
  if (c.sampled > 0)
    LISSOM_CHECK(add({OwnText{}.length * kSampledAtOnce, kSampledAtOnce, kSampledAtOnce, kSampledAtOnce}));
  if (c.evaluates)
    LISSOM_CHECK(add({kHealthPrompts * (kPromptTokens + kHealthTokens + 1), kHealthPrompts,
                      kHealthPrompts * (kPromptTokens + 1), kHealthPrompts}));
  if (c.calibrates) {
    LISSOM_TRY(const uint64_t statistics,
               importance_memory(c.checkpoint, c.calibrated, {.runtime = Source::options(c.job.threads)}));
    const uint64_t moments = c.job.folds.any() ? fold_memory(c.checkpoint, c.job) : 0;
    most = std::max(most, statistics + moments + kHeldFree);
  }
  return most;
}

/// Slabs of rows as the encoder takes them: two of them encoded, and the whole tensors that they are cut from.
uint64_t encoding_memory(const Checkpoint& checkpoint, const Plan& plan, int64_t slab_weights) {
  const auto sources = checkpoint.tensors->tensors();
  std::map<std::string, bool> made;  // reordered tensors are made beside what they are made from
  for (const Weight& weight : checkpoint.graph.weights)
    made[weight.name] = !checkpoint.from_gguf && weight.transform != HfTransform::none;
  uint64_t largest_slab = 0, largest_window = 0, slab = 0, window = 0;
  int64_t weights = 0;
  for (size_t i = 0; i < plan.entries.size(); ++i) {
    const PlanEntry& entry = plan.entries[i];
    const uint64_t source = sources[i].bytes * (made[entry.tensor] ? 2 : 1);
    const double bytes_per_weight = as_double(entry.bytes) / static_cast<double>(entry.shape.elements());
    window += source;
    for (int64_t left = entry.shape.elements(); left > 0;) {
      const int64_t taken = std::min(left, slab_weights - weights);
      slab += static_cast<uint64_t>(static_cast<double>(taken) * bytes_per_weight);
      weights += taken;
      left -= taken;
      largest_slab = std::max(largest_slab, slab);
      largest_window = std::max(largest_window, window);
      if (weights < slab_weights) continue;
      weights = 0;
      slab = 0;
      window = left > 0 ? source : 0;
    }
  }
  return 2 * largest_slab + largest_window;
}

/// Both models side by side, each with the logits of a slice of the windows.
Result<uint64_t> evaluation_memory(const Common& c, const std::vector<TensorInfo>& source,
                                   const std::vector<TensorInfo>& written) {
  const int64_t at_once = windows_at_once(c.job.context, std::max<int64_t>(c.job.eval_chunks, 1));
  const int64_t half = at_once * ((c.job.context + 1) / 2);
  const int64_t logits =
      std::clamp<int64_t>(kLogitBytes / (c.checkpoint.config.vocab * int64_t{sizeof(float)}), at_once, half);
  const Load load{c.job.context * at_once, at_once, half, logits};
  LISSOM_TRY(const uint64_t base, model_memory(c, source, load));
  LISSOM_TRY(const uint64_t model, model_memory(c, written, load));
  return base + model;
}

Result<void> add_memory(const Common& c, const std::vector<TensorInfo>& source, const Plan& plan,
                        int64_t run_context, Forecast& forecast) {
  const std::vector<TensorInfo> written = output_directory(plan);
  LISSOM_TRY(const uint64_t statistics, statistics_memory(c, source));
  uint64_t evaluation = 0;
  if (c.predicts) {
    LISSOM_TRY(evaluation, evaluation_memory(c, source, written));
  }
  int64_t context = run_context;
  if (c.checkpoint.config.context > 0) context = std::min(context, c.checkpoint.config.context);
  LISSOM_TRY(const uint64_t run, model_memory(c, written, {context, 1, std::min<int64_t>(context, 512), 1}));
  uint64_t largest = 0;
  for (const TensorInfo& info : source) largest = std::max(largest, info.bytes);
  uint64_t encoding = encoding_memory(c.checkpoint, plan, CompressOptions{}.step_weights);
  if (c.checkpoint.shards && c.checkpoint.shards->bound() > 0) encoding += largest;  // read() copies
  const uint64_t digest = std::max(kDigestBatch, largest);
  forecast.process_memory = c.process;
  forecast.run_memory = c.process + c.tokenizer + run;
  forecast.evaluate_memory = c.predicts ? c.process + c.tokenizer + evaluation : 0;
  const uint64_t feedback = c.effort.feeds_back ? error_feedback_memory(c.checkpoint, plan, c.calibrated) : 0;
  forecast.compress_memory = c.process + (c.evaluates || c.calibrates ? c.tokenizer : 0) +
                             std::max({statistics, feedback, encoding, digest,
                                       c.effort.learning ? c.effort.learning->memory : uint64_t{0},
                                       c.evaluates ? evaluation : uint64_t{0}});
  return {};
}

// ---------------------------------------------------------------- time

/// Measured once for each kind of work, however many targets ask for it.
class Speeds {
 public:
  explicit Speeds(const Common& c) : c_(c) {}

  Result<double> encoding(const PlanEntry& entry, bool importance) {
    const auto key = std::tuple(entry.from, entry.codec, importance && entry.from != entry.codec);
    if (const auto found = encoding_.find(key); found != encoding_.end()) return found->second;
    LISSOM_TRY(const double seconds,
               measure_encoding(entry.from, entry.codec, entry.shape.cols(), std::get<2>(key), c_.threads));
    encoding_[key] = seconds;
    return seconds;
  }
  /// Sampling and scoring of rows: of the vocabulary alone.
  Result<void> rows() {
    const int64_t vocab = std::max<int64_t>(c_.checkpoint.config.vocab, 1);
    sampling = measure_sampling(vocab) / c_.threads;
    LISSOM_TRY(scoring, measure_scoring(vocab));
    scoring /= c_.threads;
    digest = measure_digest() / c_.threads;
    if (c_.effort.feeds_back)
      weighing = weighing_engine(c_.checkpoint, c_.job, c_.effort.learning, c_.calibrated, {}).engine;
    const auto engine = c_.effort.learning ? c_.effort.learning->engine : weighing;
    if (engine == nullptr) return {};
    LISSOM_TRY(window, measure_distillation(*engine, c_.checkpoint.config, list_of(c_.checkpoint),
                                            kLearningWindow, c_.job.threads));
    return {};
  }

  double sampling = 0, scoring = 0, digest = 0;
  double window = 0;                       ///< of learning
  std::shared_ptr<const Engine> weighing;  ///< tokens for error feedback; or null
  ModelSpeed source;

 private:
  const Common& c_;
  std::map<std::tuple<std::string, std::string, bool>, double> encoding_;
};

uint64_t bytes_of(const std::vector<TensorInfo>& tensors) {
  uint64_t bytes = 0;
  for (const TensorInfo& info : tensors) bytes += info.bytes;
  return bytes;
}

double evaluation_seconds(const Common& c, const Speeds& speeds, const ModelSpeed& model,
                          const std::vector<TensorInfo>& source, const std::vector<TensorInfo>& written) {
  if (!c.evaluates) return 0;
  const int64_t layers = c.checkpoint.config.layers;
  const auto tokens = static_cast<double>(c.evaluated);
  double seconds =
      speeds.source.load * as_double(bytes_of(source)) + 2 * model.load * as_double(bytes_of(written));
  seconds += speeds.source.prompt(layers, tokens, tokens / 2) + model.prompt(layers, tokens, tokens / 2);
  seconds += speeds.scoring * tokens / 2;
  // The health check; kMeasuredBatch sequences cost about as much as its few.
  seconds += static_cast<double>(kHealthTokens) * model.batch_step(layers);
  return seconds;
}

Result<ForecastTimes> times_of(const Common& c, Speeds& speeds, const std::vector<TensorInfo>& source,
                               const Plan& plan, bool importance) {
  ForecastTimes times;
  const std::vector<TensorInfo> written = output_directory(plan);
  LISSOM_TRY(const ModelSpeed model, measure_model(c.checkpoint.config, written, c.job.threads));
  const int64_t layers = c.checkpoint.config.layers;
  for (const PlanEntry& entry : plan.entries) {
    if (entry.kept) continue;
    LISSOM_TRY(const double a_weight, speeds.encoding(entry, importance));
    const double seconds = a_weight * static_cast<double>(entry.shape.elements());
    times.encode += seconds;
    if (c.effort.feeds_back && is_fed_back(entry)) times.feed_back += kFeedbackEncodings * seconds;
  }
  if (c.effort.learning)  // each step encodes all of the weights
    times.learn = static_cast<double>(c.effort.learning->tokens) / static_cast<double>(kLearningWindow) *
                  (speeds.window + times.encode);
  times.digest = speeds.digest * as_double(bytes_of(source));
  const auto sampled = static_cast<double>(c.sampled), calibrated = static_cast<double>(c.calibrated);
  if (c.sampled > 0) {
    times.sample =
        sampled * (speeds.source.batch_step(layers) / static_cast<double>(kMeasuredBatch) + speeds.sampling);
    times.sample += speeds.source.load * as_double(bytes_of(source));
  }
  if (c.calibrates)  // no logits, and the weights come in by stages
    times.calibrate =
        speeds.source.prompt(layers, calibrated, 0) + speeds.source.load * as_double(bytes_of(source));
  if (times.feed_back > 0) {
    times.feed_back += kFeedbackPasses * times.calibrate;
    if (speeds.weighing != nullptr)
      times.feed_back += kGradientShare * speeds.window * calibrated / static_cast<double>(kLearningWindow);
  }
  times.evaluate = evaluation_seconds(c, speeds, model, source, written);
  if (c.evaluates) times.evaluate += static_cast<double>(kHealthTokens) * speeds.source.batch_step(layers);
  times.prompt_tokens_per_second = 512 / model.prompt(layers, 512, 1);
  if (c.predicts) times.generate_tokens_per_second = 1 / model.generate(layers);
  return times;
}

}  // namespace

Result<std::vector<Forecast>> forecast(const Checkpoint& checkpoint, const CompressJob& job,
                                       const std::vector<Scheme>& schemes, int64_t run_context,
                                       const EffortPlan& effort, bool measure, const Progress& progress) {
  const Common c = common_of(checkpoint, job, effort);
  const std::vector<TensorInfo> source = list_of(checkpoint);
  const bool importance = !job.data_free && (c.calibrates || job.imatrix);
  Speeds speeds(c);
  const auto total = static_cast<int64_t>(schemes.size()) + 1;
  if (measure) {
    LISSOM_CHECK(speeds.rows());
    LISSOM_TRY(speeds.source, measure_model(checkpoint.config, source, job.threads));
    progress.report("measure", 1, total);
  }
  std::vector<Forecast> forecasts;
  for (const Scheme& scheme : schemes) {
    if (progress.stop_requested()) return tl::unexpected(Error{ErrorKind::cancelled, "stopped"});
    const bool pack = writes_pack(job);
    LISSOM_TRY(const Plan plan,
               make_plan_for(checkpoint, scheme, importance, pack ? PlanFor::pack : PlanFor::gguf));
    Forecast f;
    f.scheme = scheme.name;
    f.description = scheme.description;
    f.bits_per_weight = plan.bits_per_weight;
    LISSOM_TRY(f.file_bytes, pack ? planned_pack_bytes(checkpoint, scheme, plan)
                                  : planned_file_bytes(checkpoint, scheme, plan));
    LISSOM_CHECK(add_memory(c, source, plan, run_context, f));
    if (pack) expect_pack(checkpoint, job, plan, f);
    if (measure) {
      LISSOM_TRY(f.times, times_of(c, speeds, source, plan, importance));
      progress.report("measure", static_cast<int64_t>(forecasts.size()) + 2, total, scheme.name);
    }
    forecasts.push_back(std::move(f));
  }
  return forecasts;
}

Result<void> check_room(const Forecast& forecast, const std::filesystem::path& out, uint64_t available_memory,
                        uint64_t free_disk) {
  const auto gb = [](uint64_t bytes) { return fmt::format("{:.2f} GB", as_double(bytes) / 1e9); };
  if (free_disk > 0 && forecast.file_bytes > free_disk)
    return io_error(fmt::format("{}: the file will have {}, but only {} are free there", out.string(),
                                gb(forecast.file_bytes), gb(free_disk)));
  if (available_memory > 0 && forecast.compress_memory > available_memory)
    return io_error(
        fmt::format("{}: this needs about {} of memory, but only {} are available. --no-verify and --calib "
                    "none or --imatrix "
                    "need far less; --no-check starts all the same",
                    forecast.scheme, gb(forecast.compress_memory), gb(available_memory)));
  return {};
}

}  // namespace lissom
