#pragma once
// What a compression cost and what it saved: report.json, and a page made from it that needs nothing but
// itself. docs/report.md describes the fields.

#include <string>
#include <vector>

#include "format/json.h"
#include "lissom/compress.h"
#include "lissom/eval.h"
#include "lissom/result.h"

namespace lissom {

/// The fields of an evaluation, as `lissom eval --json` names them.
[[nodiscard]] Json eval_json(const EvalResult& eval);
/// A result's file, plan and tensors. The pipeline adds eval, health and limits.
[[nodiscard]] Json result_json(const CompressResult& result, const Scheme& scheme);
/// "source": name, architecture, size and types of what was compressed.
[[nodiscard]] Json source_json(const Checkpoint& checkpoint, const std::string& digest);
/// "machine": processor, cores, instruction set, version of lissom.
[[nodiscard]] Json machine_json(int threads);

/// Puts reports of the same source together: the results of all, those of the last for the same scheme. Refuses
/// reports of different sources.
[[nodiscard]] Result<Json> merge_reports(const std::vector<Json>& reports);

/// A self-contained page: no script, style or picture from elsewhere, every text of the report escaped. Absent
/// or odd fields show as "–".
[[nodiscard]] std::string report_html(const Json& report);

/// Writes folder/report.json and folder/report.html.
[[nodiscard]] Result<void> write_report(const Json& report, const std::filesystem::path& folder);

}  // namespace lissom
