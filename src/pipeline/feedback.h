#pragma once
// Error feedback as a step of the compress job.

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "format/json.h"
#include "lissom/compress.h"
#include "pipeline/compress_job.h"
#include "pipeline/learning.h"
#include "pipeline/texts.h"

namespace lissom {

/// The algorithms that choose values, as --algorithm names them.
inline constexpr const char* kSearch = "search";
inline constexpr const char* kErrorFeedback = "error-feedback";

/// Errors: an unknown algorithm; one that the rest of the job rules out.
[[nodiscard]] Result<void> check_algorithm(const CompressJob& job);

/// What weighs the tokens of a calibration text by Fisher information.
struct WeighingEngine {
  std::shared_ptr<const Engine> engine;  ///< null: tokens count alike
  bool by_block = false;                 ///< EngineOptions::by_block
};
/// There is one where the model predicts the next token and gradients of so many tokens are to be had: in some
/// ten minutes of two cores, and in the memory that the job may take, by blocks if all of the weights have no
/// room in it. It is the one that learns, where there is one. Else progress says why.
[[nodiscard]] WeighingEngine weighing_engine(const Checkpoint& checkpoint, const CompressJob& job,
                                             const std::optional<Learning>& learning, int64_t tokens,
                                             const Progress& progress);

/// About how many tokens of the text the job reads.
[[nodiscard]] int64_t calibration_tokens(const CompressJob& job, const std::string& text);

/// Why there is too little memory for it; empty: there is enough.
[[nodiscard]] std::string feedback_obstacle(const Checkpoint& checkpoint, const CompressJob& job,
                                            const Plan& plan);
/// Leaves in `state` the bytes that the target is to be made of, where values are learned with those that
/// learning begins with beside them, and returns what is to be said of it (add_copied()). `key`: all that the
/// result depends on.
[[nodiscard]] Result<Json> run_feedback(const Checkpoint& checkpoint, const CompressJob& job,
                                        const TextPlan& calibration, const Plan& plan,
                                        const std::optional<Importance>& importance,
                                        const std::optional<Learning>& learning,
                                        const std::filesystem::path& state, const std::string& key,
                                        const Progress& progress);
/// Puts what an algorithm says into the result of the job, under its name: "tensors" into those that were
/// copied from its state.
void add_copied(const char* name, Json said, Json& result);

}  // namespace lissom
