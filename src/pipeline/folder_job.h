#pragma once
// The part of a compression job that is about folders for vLLM and transformers.

#include <filesystem>
#include <optional>
#include <string>

#include "format/json.h"
#include "lissom/compress.h"
#include "pipeline/compress_job.h"
#include "pipeline/forecast.h"

namespace lissom {

[[nodiscard]] inline bool writes_folder(const CompressJob& job) {
  return job.format != "gguf" && job.format != "pack";
}

struct FolderPlan {
  Scheme scheme;  ///< its name and description alone
  Plan plan;
  std::filesystem::path out;
};
/// What the job would write, and where: by custom STEM-FORMAT-SCHEME here. Errors: more than one scheme; a
/// size; `out` has files in it; what make_folder_plan() refuses.
[[nodiscard]] Result<FolderPlan> plan_folder(const Checkpoint& checkpoint, const CompressJob& job,
                                             const std::string& stem);

/// Puts the plan's bytes, and the memory that writing it takes, into the forecast of an F32 model: as that it
/// is evaluated.
void expect_folder(const Plan& plan, Forecast& forecast);

/// Writes it. The result for the report: docs/report.md.
[[nodiscard]] Result<Json> make_folder(const Checkpoint& checkpoint, const CompressJob& job,
                                       const FolderPlan& plan, const std::optional<Importance>& importance,
                                       const std::string& source_digest, const Progress& progress);

}  // namespace lissom
