#pragma once
// `lissom diagnose`: the text, the measurements, the generations, the verdict, the report.

#include <filesystem>
#include <optional>
#include <string>

#include "format/json.h"
#include "lissom/progress.h"
#include "lissom/result.h"
#include "lissom/runtime.h"

namespace lissom {

struct DiagnoseJob {
  std::string base, compressed;  ///< folder, .gguf, or org/name on the hub
  std::string revision;          ///< of a base on the hub; empty: main
  std::optional<std::filesystem::path> text;
  int64_t context = 256, chunks = 4;  ///< windows of so many tokens; 0 chunks: the whole text
  bool all_tensors = false;           ///< restore each tensor, not those of the worst blocks alone
  double scan_seconds = 300;          ///< at most; 0: no scan
  bool generate = true;
  uint64_t seed = 0;
  RuntimeOptions runtime;
  std::optional<double> max_kld;                ///< mean, nats
  std::optional<std::filesystem::path> report;  ///< folder for report.json and report.html
};

struct DiagnoseOutcome {
  Json report;  ///< docs/diagnose.md
  bool healthy = true, interrupted = false;
};

[[nodiscard]] Result<DiagnoseOutcome> run_diagnose(const DiagnoseJob& job, const Progress& progress);

}  // namespace lissom
