#include "pipeline/folder_job.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "format/quant_method.h"
#include "pipeline/record.h"
#include "report/report.h"

namespace lissom {
namespace {

namespace fs = std::filesystem;

Result<Json> files_json(const fs::path& folder) {
  std::set<fs::path> files;
  std::error_code code;
  for (fs::recursive_directory_iterator it(folder, code), end; !code && it != end; it.increment(code))
    if (it->is_regular_file(code)) files.insert(it->path());
  if (code) return io_error(folder.string() + ": " + code.message());
  Json list = Json::array();
  for (const fs::path& file : files) {
    LISSOM_TRY(const std::string digest, file_sha256(file));
    list.push_back({{"name", fs::relative(file, folder, code).string()},
                    {"bytes", fs::file_size(file, code)},
                    {"sha256", digest}});
  }
  return list;
}

}  // namespace

Result<FolderPlan> plan_folder(const Checkpoint& checkpoint, const CompressJob& job, const std::string& stem) {
  if (job.bits_per_weight > 0 || job.file_bytes > 0 || job.schemes.size() > 1)
    return bad_input("--format " + job.format + ": name one scheme; a size or several targets need GGUF");
  FolderOptions options{.format = job.format, .scheme = job.schemes.empty() ? "" : job.schemes.front()};
  FolderPlan folder;
  LISSOM_TRY(folder.plan, make_folder_plan(checkpoint, options));
  const FolderFormat& format = *find_folder_format(job.format);
  folder.scheme.name = options.scheme.empty() ? format.schemes.front() : options.scheme;
  folder.scheme.description = format.description;
  folder.out = job.out;
  if (job.out.empty()) folder.out = fmt::format("{}-{}-{}", stem, job.format, folder.scheme.name);
  std::error_code code;
  if (fs::exists(folder.out, code) && (!fs::is_directory(folder.out, code) || !fs::is_empty(folder.out, code)))
    return bad_input(folder.out.string() + ": exists and is not empty; name a new folder");
  return folder;
}

void expect_folder(const Plan& plan, Forecast& forecast) {
  constexpr uint64_t kBytes = 12;  // of each weight of the largest tensor: F32 twice, codes, packed
  uint64_t largest = 0;
  for (const PlanEntry& entry : plan.entries)
    largest = std::max(largest, static_cast<uint64_t>(entry.shape.elements()));
  forecast.file_bytes = plan.bytes;
  forecast.compress_memory = std::max(forecast.compress_memory, forecast.process_memory + kBytes * largest);
}

Result<Json> make_folder(const Checkpoint& checkpoint, const CompressJob& job, const FolderPlan& plan,
                         const std::optional<Importance>& importance, const std::string& source_digest,
                         const Progress& progress) {
  const FolderOptions options{.format = job.format,
                              .scheme = plan.scheme.name,
                              .importance = importance,
                              .threads = job.threads,
                              .source_digest = source_digest};
  LISSOM_TRY(const CompressResult compressed, compress_to_folder(checkpoint, plan.out, options, progress));
  Json result = result_json(compressed, plan.scheme);
  result["format"] = job.format;
  if (job.report) {
    LISSOM_TRY(result["files"], files_json(plan.out));
  }
  return result;
}

}  // namespace lissom
