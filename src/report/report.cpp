#include "report/report.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <thread>

#include "base/file.h"
#include "base/threads.h"
#include "kernels/kernels.h"
#include "lissom/codec.h"

namespace lissom {
namespace {

std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("model name")) continue;
    const size_t colon = line.find(':');
    if (colon != std::string::npos && colon + 2 <= line.size()) return line.substr(colon + 2);
  }
  return "unknown";
}

}  // namespace

Json eval_json(const EvalResult& eval) {
  Json json = {{"chunks", eval.chunks},
               {"tokens", eval.tokens},
               {"ppl", eval.ppl.value},
               {"ppl_error", eval.ppl.error},
               {"tokens_per_second", eval.tokens_per_second},
               {"peak_rss_bytes", eval.peak_rss}};
  if (!eval.has_base) return json;
  json["ppl_base"] = eval.ppl_base.value;
  json["ppl_base_error"] = eval.ppl_base.error;
  json["ln_ppl_ratio"] = eval.ln_ppl_ratio.value;
  json["ln_ppl_ratio_error"] = eval.ln_ppl_ratio.error;
  json["kld_mean"] = eval.kld_mean.value;
  json["kld_mean_error"] = eval.kld_mean.error;
  json["kld_median"] = eval.kld_median;
  json["kld_median_error"] = eval.kld_median_error;
  json["kld_p90"] = eval.kld_p90;
  json["kld_p90_error"] = eval.kld_p90_error;
  json["kld_p99"] = eval.kld_p99;
  json["kld_p99_error"] = eval.kld_p99_error;
  json["kld_max"] = eval.kld_max;
  json["kld_max_error"] = eval.kld_max_error;
  json["same_top"] = eval.same_top.value;
  json["same_top_error"] = eval.same_top.error;
  return json;
}

Json result_json(const CompressResult& result, const Scheme& scheme) {
  Json tensors = Json::array();
  for (size_t i = 0; i < result.tensors.size(); ++i) {
    const TensorReport& t = result.tensors[i];
    const PlanEntry& entry = result.plan.entries[i];
    Json row = {{"name", t.tensor},
                {"shape", std::vector<int64_t>(t.shape.dims().begin(), t.shape.dims().end())},
                {"from", t.from},
                {"codec", t.codec},
                {"bits", 8.0 * static_cast<double>(t.bytes_after) / static_cast<double>(t.shape.elements())},
                {"bytes_before", t.bytes_before},
                {"bytes_after", t.bytes_after},
                {"relative_error", t.relative_error},
                {"reason", t.reason},
                {"fallback", entry.fallback},
                {"kept", entry.kept}};
    if (t.has_importance) row["weighted_relative_error"] = t.weighted_relative_error;
    tensors.push_back(std::move(row));
  }
  return {{"scheme", scheme.name},
          {"description", scheme.description},
          {"file", result.path.filename().string()},
          {"file_bytes", result.file_bytes},
          {"tensor_bytes", result.bytes_after},
          {"bits_per_weight", result.plan.bits_per_weight},
          {"seconds", result.seconds},
          {"warnings", result.warnings},
          {"tensors", std::move(tensors)}};
}

Json source_json(const Checkpoint& checkpoint, const std::string& digest) {
  std::map<std::string, uint64_t> types;
  uint64_t bytes = 0;
  int64_t weights = 0;
  for (const TensorInfo& info : checkpoint.tensors->tensors()) {
    types[info.type] += info.bytes;
    bytes += info.bytes;
    weights += info.shape.elements();
  }
  return {
      {"name", checkpoint.config.name.empty() ? checkpoint.path.filename().string() : checkpoint.config.name},
      {"file", checkpoint.path.filename().string()},
      {"architecture", checkpoint.config.arch},
      {"layers", checkpoint.config.layers},
      {"width", checkpoint.config.width},
      {"weights", weights},
      {"tensor_bytes", bytes},
      {"bits_per_weight", weights > 0 ? 8.0 * static_cast<double>(bytes) / static_cast<double>(weights) : 0.0},
      {"types", types},
      {"digest", digest}};
}

Json machine_json(int threads) {
  const auto target = active_target();
  return {{"cpu", cpu_name()},
          {"threads", threads > 0 ? threads : physical_cores()},
          {"logical_cpus", static_cast<int>(std::thread::hardware_concurrency())},
          {"kernels", target ? std::string(target_name(*target)) : "none"},
          {"lissom", LISSOM_VERSION}};
}

Result<Json> merge_reports(const std::vector<Json>& reports) {
  if (reports.empty()) return bad_input("no reports to merge");
  Json merged = reports.back();
  Json results = Json::array();
  std::map<std::string, size_t> place;
  const auto digest = [](const Json& report) -> std::string {
    const auto it = report.find("source");
    if (it == report.end() || !it->is_object()) return "";
    return it->value("digest", Json()).is_string() ? it->at("digest").get<std::string>() : "";
  };
  for (const Json& report : reports) {
    const auto list = report.is_object() ? report.find("results") : report.end();
    if (!report.is_object() || list == report.end() || !list->is_array())
      return bad_input("a report without results: not one that lissom compress wrote");
    if (digest(report) != digest(merged))
      return bad_input("reports of different sources: " + digest(report) + " and " + digest(merged));
    for (const Json& result : *list) {
      if (!result.is_object()) return bad_input("a report's result is not an object");
      const Json scheme = result.value("scheme", Json());
      const std::string key = scheme.is_string() ? scheme.get<std::string>() : "";
      if (const auto [it, fresh] = place.emplace(key, results.size()); fresh)
        results.push_back(result);
      else
        results[it->second] = result;
    }
  }
  merged["results"] = std::move(results);
  return merged;
}

Result<void> write_report(const Json& report, const std::filesystem::path& folder) {
  std::error_code code;
  std::filesystem::create_directories(folder, code);
  if (code) return io_error(folder.string() + ": " + code.message());
  // Names from a model file may hold any bytes; JSON must be UTF-8.
  LISSOM_CHECK(
      write_file(folder / "report.json", report.dump(1, ' ', false, Json::error_handler_t::replace) + "\n"));
  return write_file(folder / "report.html", report_html(report));
}

}  // namespace lissom
