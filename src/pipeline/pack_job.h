#pragma once
// The part of a compression job that is about packs.

#include <filesystem>
#include <optional>
#include <string>

#include "compress/pack.h"
#include "format/json.h"
#include "pipeline/compress_job.h"
#include "pipeline/forecast.h"
#include "pipeline/texts.h"

namespace lissom {

[[nodiscard]] inline bool writes_pack(const CompressJob& job) {
  return job.format == "pack";
}
/// Of the one file that the job writes for a target.
[[nodiscard]] inline const char* file_extension(const CompressJob& job) {
  return writes_pack(job) ? ".safetensors" : ".gguf";
}

/// Whether tensors are encoded with error feedback: where it was asked for; and where nothing was said, a text
/// is read, and the Hessians of all inputs, which a pack's tensors want at once, have room.
[[nodiscard]] bool pack_feeds_back(const Checkpoint& checkpoint, const CompressJob& job, const Plan& plan);

/// Puts the memory that writing a pack takes into its forecast.
void expect_pack(const Checkpoint& checkpoint, const CompressJob& job, const Plan& plan, Forecast& forecast);

/// Reads the calibration text for the second moments that the plan's codecs and error feedback ask for; nothing
/// where none does, or where no text is there (statistics of --imatrix).
[[nodiscard]] Result<Hessians> collect_hessians(const Checkpoint& checkpoint, const CompressJob& job,
                                                const TextPlan& text, const Plan& plan, Source& source,
                                                const Progress& progress);

struct PackTarget {
  const Scheme& scheme;
  const Plan& plan;
  std::filesystem::path out;
  const std::optional<Importance>& importance;
  const std::string& source_digest;
  bool record = false;  ///< the result will be taken over: it has the file's digest
  Hessians hessians = {};
};
/// Writes it. The result for the report: docs/report.md.
[[nodiscard]] Result<Json> make_pack(const Checkpoint& checkpoint, const CompressJob& job,
                                     const PackTarget& target, const Progress& progress);

}  // namespace lissom
