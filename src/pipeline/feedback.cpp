#include "pipeline/feedback.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "compress/algorithms/error_feedback/error_feedback.h"
#include "compress/algorithms/fisher_weights.h"
#include "pipeline/folder_job.h"
#include "pipeline/machine.h"

namespace lissom {
namespace {

/// Weights times tokens that gradients are computed for at most.
constexpr double kMostWork = 4e13;
/// Passes of descent where time is given: two more take 3% off the divergence of a codebook of 2.5 bits.
constexpr int kPatientRefinements = 3;
/// Tokens of a chunk.
constexpr int64_t kChunk = CalibrationOptions{}.context;

std::string gradient_obstacle(const Checkpoint& checkpoint, const CompressJob& job, int64_t tokens) {
  const Config& config = checkpoint.config;
  if (checkpoint.graph.logits < 0 || !config.causal || !config.labels.empty())
    return "the model predicts no next token";
  double weights = 0;
  for (const TensorInfo& info : checkpoint.tensors->tensors())
    weights += static_cast<double>(info.shape.elements());
  if (weights * static_cast<double>(tokens) > kMostWork) return "gradients would take too long";
  const std::string lacks = memory_obstacle(fisher_memory(checkpoint, kChunk, true), job.ram);
  return lacks.empty() ? "" : "gradients need " + lacks;
}

}  // namespace

WeighingEngine weighing_engine(const Checkpoint& checkpoint, const CompressJob& job,
                               const std::optional<Learning>& learning, int64_t tokens,
                               const Progress& progress) {
  std::string why = gradient_obstacle(checkpoint, job, tokens);
  const bool by_block = !memory_obstacle(fisher_memory(checkpoint, kChunk, false), job.ram).empty();
  if (why.empty() && learning) return {learning->engine, by_block};
  if (why.empty()) {
    auto engine = load_engine(job.device);
    if (engine) return {*std::move(engine), by_block};
    why = engine.error().message;
  }
  progress.say(LogLevel::info, "error feedback counts all tokens alike: " + why);
  return {};
}

int64_t calibration_tokens(const CompressJob& job, const std::string& text) {
  constexpr int64_t kBytes = 4;  // of a token, about
  const int64_t tokens = static_cast<int64_t>(text.size()) / kBytes;
  return job.calib_chunks > 0 ? std::min(tokens, job.calib_chunks * kChunk) : tokens;
}

Result<void> check_algorithm(const CompressJob& job) {
  if (job.algorithm.empty() || job.algorithm == kSearch) return {};
  if (job.algorithm != kErrorFeedback)
    return bad_input("--algorithm " + job.algorithm + ": " + kSearch + " or " + kErrorFeedback);
  if (writes_folder(job)) return bad_input("--algorithm error-feedback is for GGUF files alone");
  if (job.data_free || job.imatrix)
    return bad_input("--algorithm error-feedback reads a text: give one with --calib, or nothing");
  return {};
}

std::string feedback_obstacle(const Checkpoint& checkpoint, const CompressJob& job, const Plan& plan) {
  const int64_t tokens = job.calib_chunks > 0 ? job.calib_chunks * kChunk : 0;
  if (!job.check_room) return "";
  const std::string lacks = memory_obstacle(error_feedback_memory(checkpoint, plan, tokens), job.ram);
  return lacks.empty() ? "" : "error feedback needs " + lacks + " (--ram, --calib-chunks)";
}

Result<Json> run_feedback(const Checkpoint& checkpoint, const CompressJob& job, const TextPlan& calibration,
                          const Plan& plan, const std::optional<Importance>& importance,
                          const std::optional<Learning>& learning, const std::filesystem::path& state,
                          const std::string& key, const Progress& progress) {
  FeedbackOptions options;
  options.calibration.chunks = job.calib_chunks;
  options.calibration.runtime = Source::options(job.threads);
  options.threads = job.threads;
  options.key = key;
  options.latents = learning.has_value();
  if (job.effort == Effort::high) options.refinements = kPatientRefinements;
  Source source(checkpoint, job.threads);
  LISSOM_TRY(const std::string text, calibration_text(job, calibration, source, progress));
  LISSOM_TRY(const Tokenizer* tokenizer, source.tokenizer());
  source.unload();
  const WeighingEngine weighing =
      weighing_engine(checkpoint, job, learning, calibration_tokens(job, text), progress);
  options.engine = weighing.engine.get();
  options.by_block = weighing.by_block;
  LISSOM_TRY(const Means means, means_of(checkpoint, importance));
  LISSOM_TRY(const FeedbackResult done,
             error_feedback(checkpoint, plan, means, *tokenizer, text, state, options, progress));
  if (done.shared > 0)
    progress.say(LogLevel::info,
                 fmt::format("{} tensors of experts or of several layers are left to the search", done.shared));
  Json json = {{"algorithm", kErrorFeedback},   {"token_weights", weighing.engine ? "fisher" : "none"},
               {"chunks", done.chunks},         {"skipped_chunks", done.skipped_chunks},
               {"left_to_search", done.shared}, {"seconds", done.seconds},
               {"tensors", Json::object()}};
  for (const FeedbackTensor& tensor : done.tensors)
    json["tensors"][tensor.tensor] = {{"algorithm", kErrorFeedback},
                                      {"relative_error", tensor.relative_error},
                                      {"weighted_relative_error", tensor.weighted_relative_error},
                                      {"validation_ratio", tensor.validation_ratio},
                                      {"rows", tensor.note}};
  return json;
}

void add_copied(const char* name, Json said, Json& result) {
  const Json of = std::move(said["tensors"]);
  said.erase("tensors");
  for (Json& tensor : result["tensors"]) {
    const auto found = of.find(tensor.value("name", ""));
    if (found != of.end()) tensor.update(*found);
  }
  result[name] = std::move(said);
}

}  // namespace lissom
