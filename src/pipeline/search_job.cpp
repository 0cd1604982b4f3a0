#include "pipeline/search_job.h"

#include <fmt/format.h>

#include "base/file.h"
#include "pipeline/folder_job.h"
#include "pipeline/machine.h"

namespace lissom {
namespace {

namespace fs = std::filesystem;

search::Effort effort_of(const CompressJob& job, const Checkpoint& checkpoint) {
  double weights = 0;
  for (const TensorInfo& info : checkpoint.tensors->tensors())
    weights += static_cast<double>(info.shape.elements());
  const Effort effort = job.effort.value_or(Effort::standard);
  return search::effort_of(effort == Effort::fast ? 0 : effort == Effort::high ? 2 : 1, weights);
}

}  // namespace

bool wants_search(const CompressJob& job) {
  return job.schemes.empty() && !writes_folder(job) &&
         (job.bits_per_weight > 0 || job.file_bytes > 0 || job.max_kld);
}

std::string search_obstacle(const Checkpoint& checkpoint, const CompressJob& job, bool data_free) {
  if (checkpoint.graph.logits < 0 || !checkpoint.config.causal || !checkpoint.config.labels.empty())
    return "the model predicts no next token";
  if (checkpoint.graph.block_begin.empty()) return "its graph has no transformer blocks";
  if (data_free) return "--calib none leaves no text to measure on";
  if (job.dry_run) return "a dry run measures nothing";
  if (job.disk > 0) return "--disk holds a part of the model at a time, and a search runs it whole";
  const uint64_t need = search::memory_needed(checkpoint) + resident_memory();
  const uint64_t have = job.ram > 0 ? job.ram : available_memory() + resident_memory();
  if (have > 0 && need > have)
    return fmt::format("a search needs about {:.1f} GB of memory, and may take {:.1f} GB",
                       static_cast<double>(need) / 1e9, static_cast<double>(have) / 1e9);
  return "";
}

search::Limits search_limits(const CompressJob& job) {
  return {.bits_per_weight = job.bits_per_weight, .file_bytes = job.file_bytes, .max_kld = job.max_kld};
}

std::string search_description(const CompressJob& job) {
  return fmt::format("search: {} bits, {} bytes, divergence {}, effort {}, context {}, text {}",
                     job.bits_per_weight, job.file_bytes, job.max_kld.value_or(0.0),
                     static_cast<int>(job.effort.value_or(Effort::standard)), job.context,
                     job.calib.value_or("").string());
}

fs::path search_journal(const fs::path& out) {
  return out.string() + ".search";
}
fs::path search_scheme(const fs::path& out) {
  return out.string() + ".scheme.yaml";
}

Result<std::string> search_text(const CompressJob& job, const TextPlan& calibration, Source& source,
                                const Progress& progress) {
  TextPlan plan = calibration;
  if (plan.kind == TextPlan::Kind::imatrix_file) {
    plan.kind = job.calib ? TextPlan::Kind::file : TextPlan::Kind::sampled;
    plan.path = job.calib.value_or("");
  }
  return calibration_text(job, plan, source, progress);
}

Result<search::Found> run_search(const CompressJob& job, const fs::path& out, const std::string& key,
                                 std::string_view text, const std::optional<Importance>& importance,
                                 Source& source, const Progress& progress) {
  LISSOM_TRY(const Tokenizer* tokenizer, source.tokenizer());
  search::Options options;
  options.effort = effort_of(job, source.checkpoint());
  options.context = job.context;
  options.threads = job.threads;
  options.journal = search_journal(out);
  options.key = key;
  LISSOM_TRY(search::Found found, search::find_scheme(source.checkpoint(), *tokenizer, text, importance,
                                                      search_limits(job), options, progress));
  LISSOM_CHECK(write_file(search_scheme(out), found.yaml));
  return found;
}

Json search_json(const search::Found& found, const fs::path& out) {
  Json frontier = Json::array();
  for (const search::Point& p : found.frontier) {
    Json point = {{"name", p.name},
                  {"file_bytes", p.file_bytes},
                  {"bits_per_weight", p.bits_per_weight},
                  {"predicted_kld", p.predicted}};
    if (p.verified) {
      point["kld"] = p.verified->value;
      point["kld_error"] = p.verified->error;
    }
    frontier.push_back(std::move(point));
  }
  return {{"scheme_file", search_scheme(out).filename().string()},
          {"kld", found.kld.value},
          {"kld_error", found.kld.error},
          {"kld_bound", found.kld_bound},
          {"windows", found.windows},
          {"measurements", found.measurements},
          {"remembered", found.remembered},
          {"seconds", found.seconds},
          {"frontier", std::move(frontier)}};
}

}  // namespace lissom
