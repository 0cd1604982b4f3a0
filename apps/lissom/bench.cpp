// `lissom bench MODEL`: tokens per second.

#include <fmt/core.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "command.h"
#include "console.h"
#include "lissom/eval.h"
#include "table.h"
#include "verbs.h"

namespace lissom::cli {
namespace {

struct Options {
  std::string model, revision;
  BenchOptions bench;
  bool json = false, quiet = false;
};

nlohmann::json json_of(const BenchResult& r) {
  return {{"target", r.target},
          {"threads", r.threads},
          {"prompt", r.prompt},
          {"generate", r.generate},
          {"prompt_tokens_per_second", r.prompt_tokens_per_second},
          {"generate_tokens_per_second", r.generate_tokens_per_second},
          {"load_seconds", r.load_seconds},
          {"peak_rss_bytes", r.peak_rss}};
}

void print_json(const Options& o, const std::vector<BenchResult>& results) {
  nlohmann::json json = results.size() == 1 ? json_of(results[0]) : nlohmann::json::object();
  json["model"] = o.model;
  json["results"] = nlohmann::json::array();
  for (const BenchResult& r : results) json["results"].push_back(json_of(r));
  fmt::print("{}\n", json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
}

void print_table(const std::vector<BenchResult>& results) {
  using Align = Table::Align;
  Table table({{"threads", Align::right},
               {"prompt tokens/s", Align::right},
               {"generated tokens/s", Align::right},
               {"load", Align::right},
               {"peak memory", Align::right}});
  const auto speed = [](int64_t n, double value) {
    return n > 0 ? fmt::format("{:.1f}", value) : std::string("–");
  };
  for (const BenchResult& r : results) {
    table.row({r.threads > 0 ? std::to_string(r.threads) : "all cores",
               speed(r.prompt, r.prompt_tokens_per_second), speed(r.generate, r.generate_tokens_per_second),
               human_seconds(r.load_seconds), human_bytes(r.peak_rss)});
  }
  fmt::print("{}kernels: {}\n", table.str(), results.front().target);
}

int run(const Options& o) {
  const Progress progress = console_progress(o.quiet || o.json);
  const auto checkpoint = open_checkpoint(o.model, {.need_tokenizer = false, .revision = o.revision}, progress);
  if (!checkpoint) return fail(checkpoint.error());
  const auto results = bench(*checkpoint, o.bench, progress);
  end_progress();
  if (!results) return interrupted() ? 130 : fail(results.error());
  if (o.json) {
    print_json(o, *results);
  } else {
    print_table(*results);
  }
  return 0;
}

}  // namespace

void add_bench(CLI::App& app, int& exit_code) {
  Command verb(app, "bench", "Measure tokens per second, load time and memory");
  auto o = std::make_shared<Options>();
  verb.option("MODEL", o->model, "A folder, a .gguf, or org/name on the Hugging Face hub").required();
  verb.option("--revision", o->revision, kRevisionHelp);
  verb.option("--threads,-t", o->bench.threads, "Thread counts, separated by commas; 0: all physical cores")
      .comma_separated()
      .between(0, 1024);
  verb.option("--prompt", o->bench.prompt, "Tokens of the prompt").show_default();
  verb.option("--generate", o->bench.generate, "Tokens to generate, one at a time").show_default();
  verb.option("--repeats", o->bench.repeats, "Timed runs; the median counts").show_default();
  verb.flag("--json", o->json, "Print one JSON object");
  verb.flag("--quiet,-q", o->quiet, "No progress");
  verb.footer(
      "Peak memory is the process's so far, so that later thread counts never report less.\n"
      "Example:\n  lissom bench model.gguf --threads 1,2 --prompt 512 --generate 64 --json");
  verb.action([o, &exit_code] { exit_code = run(*o); });
}

}  // namespace lissom::cli
