#pragma once
// --fold as a step of the compress job: what the codecs get instead of the source's own weights.

#include <optional>
#include <string>

#include "compress/algorithms/fold/fold.h"
#include "format/json.h"
#include "lissom/compress.h"
#include "pipeline/compress_job.h"
#include "pipeline/texts.h"

namespace lissom {

/// A target's weights as its codecs get them, and their inputs' statistics.
struct FoldedTarget {
  Checkpoint checkpoint;
  std::optional<Importance> importance;
  Json report;  ///< "fold" of a result: docs/report.md
};

/// Sets what one word of --fold says: "awq", "heads" or "residual".
[[nodiscard]] Result<void> add_fold(const std::string& word, Folds& folds);
/// "awq heads": what results depend on; empty: nothing is folded.
[[nodiscard]] std::string fold_description(const Folds& folds);
/// Errors: what the rest of the job or the model rules out.
[[nodiscard]] Result<void> check_folds(const Checkpoint& checkpoint, const CompressJob& job, bool data_free);
/// What the graph has room for, for a dry run.
[[nodiscard]] Json planned_folds(const Checkpoint& checkpoint, const Folds& folds);

/// Folds for the plan's codecs. importance: of the source's inputs. A text, where statistics are not a file's
/// alone, gives those of rotated inputs and the second moments that factors are chosen by. text: that of
/// `calibration` where it was read or written already; else empty.
[[nodiscard]] Result<FoldedTarget> fold_target(const Checkpoint& checkpoint, const CompressJob& job,
                                               const Plan& plan, const std::optional<Importance>& importance,
                                               const TextPlan& calibration, std::string text,
                                               const Progress& progress);
/// Types and bytes of a result are those of the source, not of what was folded from it.
void name_source_types(const Checkpoint& checkpoint, Json& result);

/// Adds what folding takes to the memory of a job.
[[nodiscard]] uint64_t fold_memory(const Checkpoint& checkpoint, const CompressJob& job);

}  // namespace lissom
