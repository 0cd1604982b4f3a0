// `lissom report A.json B.json -o FOLDER`: reports of the same source, put together.

#include <fmt/core.h>

#include <memory>
#include <string>
#include <vector>

#include "command.h"
#include "report/report.h"
#include "verbs.h"

namespace lissom::cli {
namespace {

struct Arguments {
  std::vector<std::string> reports;
  std::string out = ".";
  bool json = false;
};

Result<Json> merge(const Arguments& a) {
  std::vector<Json> reports;
  for (const std::string& path : a.reports) {
    LISSOM_TRY(reports.emplace_back(), read_json(path, uint64_t{1} << 30));
  }
  LISSOM_TRY(Json merged, merge_reports(reports));
  LISSOM_CHECK(write_report(merged, a.out));
  return merged;
}

int run(const Arguments& a) {
  const auto merged = merge(a);
  if (!merged) return fail(merged.error());
  if (a.json)
    fmt::print("{}\n", merged->dump(1, ' ', false, Json::error_handler_t::replace));
  else
    fmt::print("{}/report.html\n", a.out);
  return 0;
}

}  // namespace

void add_report(CLI::App& app, int& exit_code) {
  Command verb(app, "report", "Put reports of the same source together on one page");
  auto a = std::make_shared<Arguments>();
  verb.option("reports", a->reports, "report.json files that compress wrote").required();
  verb.option("-o,--out", a->out, "Folder for report.json and report.html").show_default();
  verb.flag("--json", a->json, "Print the merged report");
  verb.footer("Example:\n  lissom report small/report.json large/report.json -o both");
  verb.action([a, &exit_code] { exit_code = run(*a); });
}

}  // namespace lissom::cli
