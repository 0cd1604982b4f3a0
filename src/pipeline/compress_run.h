#pragma once
// The state of one compress job, which its steps hand on to each other (pipeline/compress_job.h).

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "compress/distill.h"
#include "format/json.h"
#include "lissom/compress.h"
#include "lissom/model.h"
#include "lissom/progress.h"
#include "pipeline/compress_job.h"
#include "pipeline/fold_job.h"
#include "pipeline/health.h"
#include "pipeline/learning.h"
#include "pipeline/texts.h"

namespace lissom {

struct CompressTarget {
  Scheme scheme;
  Plan plan;
  std::filesystem::path out;
  std::string key;  ///< all that its result depends on
  /// Scheme and plan stand in for what a search is still to choose.
  bool searched = false;
  std::optional<FoldedTarget> folded = {};  ///< with --fold, from when the target is made
};

/// One run of the job: what is known so far.
struct CompressRun {
  CompressRun(const CompressJob& the_job, const Progress& the_progress)
      : job(the_job), progress(the_progress) {}

  const CompressJob& job;
  const Progress& progress;
  Checkpoint checkpoint;
  std::optional<Checkpoint> unpadded;  ///< the source, where `checkpoint` is its padded form
  std::string digest;                  ///< of the source
  /// The weights may still be on their way: of what the job needs only the encoding reads them, so that it
  /// begins with the first of them and finds their digest itself. Else empty.
  std::string source_identity;
  bool folder = false, verify = true, data_free = false;
  std::vector<CompressTarget> targets;
  TextPlans texts;
  std::vector<std::string> warnings;

  std::optional<Importance> importance;
  std::string calibration;  ///< the text, where a search wants it
  EffortPlan effort;
  DistillText learning_text;
  std::string evaluation;  ///< the text
  std::vector<std::vector<int32_t>> prompts;
  std::optional<Health> base_health;
  std::string disjoint;
  Json results = Json::array();
  bool prepared = false;

  /// What a target's codecs are given: the source, or what was folded from it.
  [[nodiscard]] const Checkpoint& model(const CompressTarget& target) const {
    return target.folded ? target.folded->checkpoint : checkpoint;
  }
  [[nodiscard]] const std::optional<Importance>& statistics(const CompressTarget& target) const {
    return target.folded ? target.folded->importance : importance;
  }
};

/// For the report, and said at once.
void warn(CompressRun& run, const std::string& text);
/// The job as the model allows it.
[[nodiscard]] CompressJob effective_of(const CompressRun& run);
/// What of a result's key says how the source is padded and folded.
[[nodiscard]] std::string fold_key(const CompressRun& run);

// ---------------------------------------------------------------- what to make (compress_targets.cpp)

/// The source, as far as its headers tell, and what is to be made of it.
[[nodiscard]] Result<void> open_source(CompressRun& run);
/// Names all that each target's result depends on.
void make_keys(CompressRun& run);

// ---------------------------------------------------------------- statistics and texts (compress_prepare.cpp)

/// Kept in the output folder. Not .gguf, though it is one: what ends so there is a model.
inline constexpr const char* kStatistics = "statistics.imatrix";

/// Everything that needs the source model to run, once, before the first target that is not finished. Of a
/// model that is still coming, what judges it has time until it is here.
[[nodiscard]] Result<void> prepare(CompressRun& run);
/// Two parts of it, for when a model that was still coming is here.
[[nodiscard]] Result<void> prepare_evaluation(CompressRun& run, Source& source);
[[nodiscard]] Result<void> make_prompts(CompressRun& run, Source& source);

// ---------------------------------------------------------------- one target (compress_target.cpp)

/// Makes the file, judges it, and returns its part of the report.
[[nodiscard]] Result<Json> make_target(CompressRun& run, CompressTarget& target);

}  // namespace lissom
