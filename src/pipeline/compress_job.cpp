#include "pipeline/compress_job.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <set>

#include "base/file.h"
#include "base/threads.h"
#include "compress/digest.h"
#include "compress/header.h"
#include "hub/shards.h"
#include "lissom/gguf.h"
#include "pipeline/compress_run.h"
#include "pipeline/feedback.h"
#include "pipeline/folder_job.h"
#include "pipeline/forecast.h"
#include "pipeline/machine.h"
#include "pipeline/pack_job.h"
#include "pipeline/record.h"
#include "report/report.h"

namespace lissom {

void warn(CompressRun& run, const std::string& text) {
  run.warnings.push_back(text);
  run.progress.say(LogLevel::warning, text);
}

namespace {

namespace fs = std::filesystem;

/// Adds "limits" to a result; false where one is not met.
bool apply_limits(const CompressJob& job, Json& result) {
  result["limits"] = Json::array();
  bool met = true;
  const auto limit = [&](const char* name, const std::optional<double>& bound, double value) {
    if (!bound) return;
    const bool ok = value <= *bound;  // false for NaN
    result["limits"].push_back({{"name", name}, {"limit", *bound}, {"value", value}, {"met", ok}});
    met = met && ok;
  };
  if (!result.contains("eval")) return true;
  const Json& eval = result["eval"];
  limit("max_kld", job.max_kld, eval.value("kld_mean", 0.0));
  limit("max_ppl_delta", job.max_ppl_delta, eval.value("ppl", 0.0) - eval.value("ppl_base", 0.0));
  result["limits_met"] = met;
  return met;
}

Json calibration_json(const CompressRun& run) {
  Json json = {{"description", run.texts.calibration.description}};
  if (!run.importance) return json;
  const Importance& importance = *run.importance;
  json["chunks"] = importance.chunks;
  json["chunk_size"] = importance.chunk_size;
  json["skipped_chunks"] = importance.skipped_chunks;
  json["tokens"] = importance.chunks * importance.chunk_size;
  std::string uncovered;
  int64_t count = 0;
  for (const PlanEntry& entry : run.targets.front().plan.entries) {
    if (entry.kept || importance.entries.contains(entry.tensor)) continue;
    if (++count <= 8) uncovered += (uncovered.empty() ? "" : ", ") + entry.tensor;
  }
  const auto starved = starved_experts(importance);
  if (!starved.empty()) {
    json["starved_experts"] = Json::array();
    for (const StarvedExpert& s : starved)
      json["starved_experts"].push_back({{"layer", s.layer}, {"expert", s.expert}, {"tokens", s.tokens}});
    json["enough_tokens"] = Importance::kEnoughTokens;
  }
  json["uncovered"] = count == 0 ? "none" : fmt::format("{}: {}{}", count, uncovered, count > 8 ? ", …" : "");
  return json;
}

Json report_of(const CompressRun& run) {
  Json report = {{"report", "lissom compress"},
                 {"version", 1},
                 {"source", source_json(run.unpadded ? *run.unpadded : run.checkpoint, run.digest)},
                 {"machine", machine_json(run.job.threads)},
                 {"evaluation",
                  {{"description", run.texts.evaluation.description},
                   {"context", run.job.context},
                   {"disjoint", run.disjoint.empty() ? "–" : run.disjoint}}},
                 {"warnings", run.warnings},
                 {"results", run.results}};
  if (run.unpadded) report["source"]["ffn_padded"] = run.checkpoint.config.ff;
  report["calibration"] = calibration_json(run);
  return report;
}

Json plan_json(const CompressTarget& target, uint64_t file_bytes) {
  Json tensors = Json::array();
  for (const PlanEntry& entry : target.plan.entries)
    tensors.push_back({{"name", entry.tensor},
                       {"from", entry.from},
                       {"codec", entry.codec},
                       {"bytes_after", entry.bytes},
                       {"reason", entry.reason},
                       {"fallback", entry.fallback},
                       {"kept", entry.kept}});
  return {{"scheme", target.scheme.name},      {"description", target.scheme.description},
          {"path", target.out.string()},       {"file_bytes", file_bytes},
          {"tensor_bytes", target.plan.bytes}, {"bits_per_weight", target.plan.bits_per_weight},
          {"tensors", std::move(tensors)}};
}

Result<void> check_job(const CompressJob& job) {
  if ((job.max_kld || job.max_ppl_delta) && !job.verify)
    return bad_input("--no-verify leaves nothing to hold against --max-kld and --max-ppl-delta");
  if (job.data_free && (job.calib || job.imatrix)) return bad_input("statistics, or none: give one of the two");
  if (job.context < 8) return bad_input("a context of fewer than 8 tokens");
  if (job.device != CompressJob().device) LISSOM_CHECK(load_engine(job.device));
  return check_algorithm(job);
}

/// Nobody should learn after hours that a job cannot finish.
Result<void> check_room(const CompressRun& run) {
  std::vector<Scheme> schemes;
  for (const CompressTarget& target : run.targets) schemes.push_back(target.scheme);
  // A folder is evaluated as the F32 that it stands for.
  const bool folder = writes_folder(run.job);
  if (folder) {
    LISSOM_TRY(schemes.front(), builtin_scheme("F32"));
  }
  const CompressJob job = effective_of(run);
  LISSOM_TRY(const std::vector<Forecast> forecasts,
             forecast(run.checkpoint, job, schemes, job.context, run.effort, false, run.progress));
  const uint64_t memory = available_memory() + resident_memory();
  uint64_t unused = free_disk(run.targets.front().out);
  if (const hub::Shards* shards = run.checkpoint.shards.get(); shards != nullptr) {
    LISSOM_CHECK(shards->check_disk());
    if (unused > 0 && same_disk(shards->cache_folder(), run.targets.front().out))
      unused -= std::min(unused - 1, shards->disk_room());  // 0 would mean that nothing is known
  }
  uint64_t taken = 0;
  for (size_t i = 0; i < forecasts.size(); ++i) {
    // What an earlier run has left is part of what this one needs.
    uint64_t have = 0;
    std::error_code code;
    for (const fs::path& there : {run.targets[i].out, AtomicFile::partial_path(run.targets[i].out)})
      if (const auto size = fs::file_size(there, code); !code) have += size;
    Forecast rest = forecasts[i];
    if (folder) expect_folder(run.targets[i].plan, rest);
    rest.file_bytes = taken + rest.file_bytes - std::min(have, rest.file_bytes);
    LISSOM_CHECK(lissom::check_room(rest, run.targets[i].out, memory, unused));
    taken = rest.file_bytes;
  }
  return {};
}

/// Shows a download and the work that goes on beside it as one.
class Stages {
 public:
  explicit Stages(const Progress& shown) : shown_(shown) {}
  void step(std::string_view stage, int64_t done, int64_t total, std::string_view detail) {
    if (stage == "download") {
      coming_ = done < total ? fmt::format("download {:.0f}%, ",
                                           100.0 * static_cast<double>(done) / static_cast<double>(total))
                             : "";
      if (stage_.empty()) return shown_.report(stage, done, total, detail);
    } else {
      stage_ = done < total ? stage : "";
      done_ = done;
      total_ = total;
      detail_ = detail;
      if (stage_.empty()) return shown_.report(stage, done, total, detail);
    }
    shown_.report(stage_, done_, total_, coming_ + detail_);
  }

 private:
  const Progress& shown_;
  std::string stage_, detail_, coming_;
  int64_t done_ = 0, total_ = 0;
};

/// A finished result of an earlier run, where all it depends on is the same.
std::optional<Json> take_over(CompressRun& run, const CompressTarget& target) {
  if (!run.folder) return {};
  std::optional<Record> record = read_record(target.out, target.key);
  if (!record) return {};
  run.disjoint = record->evaluation.value("disjoint", std::string("–"));
  run.progress.say(LogLevel::info, target.out.string() + ": finished by an earlier run");
  if (run.digest.empty())
    if (const auto file = GgufFile::open(target.out))
      run.digest = (*file)->metadata().string_or("lissom.source_digest", "");
  return std::move(record->result);
}

}  // namespace

Result<CompressOutcome> run_compress(const CompressJob& job, const Progress& all) {
  LISSOM_CHECK(check_job(job));
  Stages stages(all);
  Progress progress = all;
  progress.step = [&stages](std::string_view stage, int64_t done, int64_t total, std::string_view detail) {
    stages.step(stage, done, total, detail);
  };
  // What concerns every target is said once.
  std::set<std::string, std::less<>> said;
  progress.log = [&all, &said](LogLevel level, std::string_view text) {
    if (said.emplace(text).second) all.say(level, text);
  };
  CompressRun run(job, progress);
  LISSOM_CHECK(open_source(run));
  CompressOutcome outcome;
  if (job.dry_run) {
    for (const CompressTarget& target : run.targets) {
      uint64_t bytes = target.plan.bytes;
      if (!writes_folder(job)) {
        LISSOM_TRY(bytes, writes_pack(job) ? planned_pack_bytes(run.checkpoint, target.scheme, target.plan)
                                           : planned_file_bytes(run.checkpoint, target.scheme, target.plan));
      }
      run.results.push_back(plan_json(target, bytes));
      if (job.folds.any()) run.results.back()["fold"] = planned_folds(run.checkpoint, job.folds);
    }
    outcome.report = {{"results", run.results}, {"source", source_json(run.checkpoint, "")}};
    return outcome;
  }
  LISSOM_TRY(run.effort,
             plan_effort(run.checkpoint, effective_of(run), !run.source_identity.empty(), progress));
  if (job.check_room) LISSOM_CHECK(check_room(run));
  if (run.source_identity.empty()) {
    ThreadPool pool(job.threads);
    LISSOM_TRY(run.digest, checkpoint_digest(run.unpadded ? *run.unpadded : run.checkpoint, pool, progress));
  }
  LISSOM_TRY(run.texts, plan_texts(effective_of(run), run.source_identity + run.digest));
  make_keys(run);
  if (run.folder) {
    std::error_code code;
    fs::create_directories(job.out, code);
    if (code) return io_error(job.out.string() + ": " + code.message());
  }
  for (CompressTarget& target : run.targets) {
    std::optional<Json> earlier = take_over(run, target);
    Json result;
    if (earlier) {
      ++outcome.reused;
      result = std::move(*earlier);
    } else {
      LISSOM_TRY(result, make_target(run, target));
      if (run.folder)
        LISSOM_CHECK(write_record(target.out, {target.key, result, report_of(run)["evaluation"]}));
    }
    outcome.limits_met = apply_limits(job, result) && outcome.limits_met;
    run.results.push_back(std::move(result));
  }
  if (!run.importance && run.folder && outcome.reused > 0)
    if (auto kept = read_imatrix(job.out / kStatistics)) run.importance = std::move(*kept);
  outcome.report = report_of(run);
  if (job.report) LISSOM_CHECK(write_report(outcome.report, *job.report));
  return outcome;
}

}  // namespace lissom
