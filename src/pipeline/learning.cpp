#include "pipeline/learning.h"

#include <fmt/format.h>

#include <algorithm>

#include "data/calibration.h"
#include "data/windows.h"
#include "pipeline/feedback.h"
#include "pipeline/folder_job.h"
#include "pipeline/machine.h"
#include "pipeline/pack_job.h"

namespace lissom {
namespace {

/// Tokens of the two efforts for a model of this many weights; a larger one gets fewer, so that the work is the
/// same.
constexpr int64_t kStandardTokens = 60 << 10, kHighTokens = 360 << 10;
constexpr double kUsualWeights = 135e6;
/// Fewer teach too little to pay for the memory that learning needs.
constexpr int64_t kFewestTokens = 8 << 10;
/// What the model writes for this is read so many times.
constexpr int64_t kRounds = 2;

int64_t tokens_of(Effort effort, double weights) {
  const auto most = static_cast<double>(effort == Effort::high ? kHighTokens : kStandardTokens);
  return static_cast<int64_t>(most * std::min(1.0, kUsualWeights / weights));
}

/// Why this job can neither learn nor feed back without being told to; empty: it can.
std::string obstacle(const Checkpoint& checkpoint, const CompressJob& job, bool streamed) {
  if (checkpoint.graph.logits < 0 || !checkpoint.config.causal) return "the model predicts no next token";
  if (writes_folder(job) || writes_pack(job)) return "values are learned for GGUF files alone";
  if (job.data_free) return "--calib none leaves no text to learn from";
  if (streamed) return "the weights come while they are read";
  return "";
}

/// Why learning would take too much; empty: it does not.
std::string lack_of_room(const CompressJob& job, const Learning& learning) {
  if (learning.tokens < kFewestTokens)
    return "the model is too large to learn from enough text in reasonable time";
  const std::string lacks = memory_obstacle(learning.memory, job.ram);
  return lacks.empty() ? "" : "it needs " + lacks;
}

}  // namespace

std::string Learning::description() const {
  return fmt::format("distillation, {} tokens, {}", tokens, engine->description());
}

int64_t Learning::sampled_tokens(const CompressJob& job) const {
  return std::max(job.sample_tokens, tokens / kRounds);
}

Result<Effort> parse_effort(const std::string& text) {
  if (text == "fast") return Effort::fast;
  if (text == "default") return Effort::standard;
  if (text == "high") return Effort::high;
  return bad_input("--effort " + text + ": fast, default or high");
}

Result<EffortPlan> plan_effort(const Checkpoint& checkpoint, const CompressJob& job, bool streamed,
                               const Progress& progress) {
  EffortPlan plan;
  plan.feeds_back = job.algorithm == kErrorFeedback;
  if (job.effort == Effort::fast) return plan;
  double weights = 0;
  for (const TensorInfo& info : checkpoint.tensors->tensors())
    weights += static_cast<double>(info.shape.elements());
  Learning learning;
  learning.tokens = tokens_of(job.effort.value_or(Effort::standard), weights);
  learning.memory = distill_memory(checkpoint, kLearningWindow, DistillOptions{}.windows_a_step);
  const auto refuse = [&](const std::string& instead, const std::string& why) -> Result<EffortPlan> {
    if (job.effort) return unsupported("--effort: " + why);
    progress.say(LogLevel::info, instead + ": " + why);
    return plan;
  };
  if (const std::string why = obstacle(checkpoint, job, streamed); !why.empty())
    return refuse("effort fast", why);
  auto engine = load_engine(job.device);
  if (!engine) return refuse("effort fast", engine.error().message);
  if (job.algorithm.empty()) plan.feeds_back = !job.imatrix;
  if (const std::string why = lack_of_room(job, learning); !why.empty())
    return refuse(plan.feeds_back ? "error feedback alone" : "effort fast", why);
  learning.engine = *std::move(engine);
  plan.learning = std::move(learning);
  return plan;
}

Result<DistillText> learning_text(const CompressJob& job, const TextPlan& calibration, const Learning& learning,
                                  Source& source, const Progress& progress) {
  LISSOM_TRY(const Tokenizer* tokenizer, source.tokenizer());
  DistillText text;
  std::string words;
  if (calibration.kind == TextPlan::Kind::sampled || calibration.kind == TextPlan::Kind::imatrix_file) {
    CompressJob more = job;
    more.sample_tokens = learning.sampled_tokens(job);
    TextPlan own = calibration;
    own.kind = TextPlan::Kind::sampled;
    LISSOM_TRY(words, calibration_text(more, own, source, progress));
  } else {
    LISSOM_TRY(words, calibration_text(job, calibration, source, progress));
  }
  text.tokens = tokenizer->encode(words, false).ids;
  text.length = std::min<int64_t>(kLearningWindow, static_cast<int64_t>(text.tokens.size()));
  if (source.checkpoint().config.context > 0)
    text.length = std::min(text.length, source.checkpoint().config.context);
  if (text.length < 2) return bad_input("the calibration text has too few tokens to learn from");
  if (const auto bos = leading_token(*tokenizer))
    for (int64_t w = 0; w < text.windows(); ++w) text.tokens[static_cast<size_t>(w * text.length)] = *bos;
  return text;
}

}  // namespace lissom
