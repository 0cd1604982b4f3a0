#pragma once
// When a job's limits are met by a search, from which text, and what its report says of it.

#include <string>

#include "compress/search/search.h"
#include "format/json.h"
#include "pipeline/compress_job.h"
#include "pipeline/texts.h"

namespace lissom {

/// The job names a limit of size or divergence and no scheme.
[[nodiscard]] bool wants_search(const CompressJob& job);
/// Why this job cannot search though it wants to; empty: it can. Then a built-in scheme is taken.
[[nodiscard]] std::string search_obstacle(const Checkpoint& checkpoint, const CompressJob& job, bool data_free);
[[nodiscard]] search::Limits search_limits(const CompressJob& job);
/// All that the plan depends on besides source, text and statistics.
[[nodiscard]] std::string search_description(const CompressJob& job);

/// OUT.search: what is measured so far. OUT.scheme.yaml: the plan, for --scheme.
[[nodiscard]] std::filesystem::path search_journal(const std::filesystem::path& out);
[[nodiscard]] std::filesystem::path search_scheme(const std::filesystem::path& out);

/// The calibration text; beside statistics of a file that of --calib, or else what the model writes itself.
[[nodiscard]] Result<std::string> search_text(const CompressJob& job, const TextPlan& calibration,
                                              Source& source, const Progress& progress);

/// Searches, and writes the plan beside `out`. `key` names source, texts and statistics.
[[nodiscard]] Result<search::Found> run_search(const CompressJob& job, const std::filesystem::path& out,
                                               const std::string& key, std::string_view text,
                                               const std::optional<Importance>& importance, Source& source,
                                               const Progress& progress);

/// "search" of a result: docs/report.md.
[[nodiscard]] Json search_json(const search::Found& found, const std::filesystem::path& out);

}  // namespace lissom
