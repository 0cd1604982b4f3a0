#pragma once
// Whether a job learns values, from how much text, and from which.

#include <memory>
#include <optional>
#include <string>

#include "compress/distill.h"
#include "lissom/engine.h"
#include "pipeline/compress_job.h"
#include "pipeline/texts.h"

namespace lissom {

/// Tokens of a window, unless the text or the model's context is shorter.
inline constexpr int64_t kLearningWindow = 512;

struct Learning {
  std::shared_ptr<const Engine> engine;
  int64_t tokens = 0;                             ///< that are read in all
  uint64_t memory = 0;                            ///< bytes that it takes, beside what the process has
  [[nodiscard]] std::string description() const;  ///< what the result depends on
  /// Of its own text that the model writes where there is none; it is read in several rounds.
  [[nodiscard]] int64_t sampled_tokens(const CompressJob& job) const;
};

/// "fast", "default" or "high".
[[nodiscard]] Result<Effort> parse_effort(const std::string& text);

/// What is done to the values beyond each block's own search.
struct EffortPlan {
  bool feeds_back = false;  ///< error feedback
  std::optional<Learning> learning;
};
/// Where no effort was given: as much as the model and the memory allow, learning on top of error feedback, or
/// that alone, or nothing; progress says what stands in the way of more. Where learning was asked for, that is
/// an error. `streamed`: the weights are not here yet.
[[nodiscard]] Result<EffortPlan> plan_effort(const Checkpoint& checkpoint, const CompressJob& job,
                                             bool streamed, const Progress& progress);

/// The calibration text, or what the model writes itself where that plan names none, in windows.
[[nodiscard]] Result<DistillText> learning_text(const CompressJob& job, const TextPlan& calibration,
                                                const Learning& learning, Source& source,
                                                const Progress& progress);

}  // namespace lissom
