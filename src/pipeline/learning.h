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

/// Nothing where the job's effort is fast, or was not given and the model does not allow more: then progress
/// says why. Where more was asked for, that is an error. `streamed`: the weights are not here yet.
[[nodiscard]] Result<std::optional<Learning>> plan_learning(const Checkpoint& checkpoint,
                                                            const CompressJob& job, bool streamed,
                                                            const Progress& progress);

/// The calibration text, or what the model writes itself where that plan names none, in windows.
[[nodiscard]] Result<DistillText> learning_text(const CompressJob& job, const TextPlan& calibration,
                                                const Learning& learning, Source& source,
                                                const Progress& progress);

}  // namespace lissom
