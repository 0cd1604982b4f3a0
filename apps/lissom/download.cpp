// `lissom download MODEL`: a model of the hub into its cache, for later or for a machine without network.

#include <fmt/core.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "command.h"
#include "console.h"
#include "hub/hub.h"
#include "verbs.h"

namespace lissom::cli {
namespace {

struct Options {
  std::string model, revision;
  bool json = false, quiet = false;
};

int run(const Options& o) {
  const auto found = hub::find_model(o.model, {.revision = o.revision}, console_progress(o.quiet));
  if (!found) return fail(found.error());
  end_progress();
  const std::string path = found->path.string();
  if (o.json) {
    const nlohmann::json json = {{"model", o.model}, {"path", path}};
    fmt::print("{}\n", json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  } else {
    fmt::print("{}\n", path);
  }
  return 0;
}

}  // namespace

void add_download(CLI::App& app, int& exit_code) {
  Command verb(app, "download", "Download a model of the Hugging Face hub, print its path");
  auto o = std::make_shared<Options>();
  verb.option("MODEL", o->model, "org/name, org/name:Q4_K_M or org/name/file.gguf; a path is printed as it is")
      .required();
  verb.option("--revision", o->revision, kRevisionHelp);
  verb.flag("--json", o->json, "Print one JSON object");
  verb.flag("-q,--quiet", o->quiet, "No progress");
  verb.footer(
      "The other verbs download by themselves; this one is for later use without network.\n"
      "Example:\n  lissom download HuggingFaceTB/SmolLM2-135M --revision main");
  verb.action([o, &exit_code] { exit_code = run(*o); });
}

}  // namespace lissom::cli
