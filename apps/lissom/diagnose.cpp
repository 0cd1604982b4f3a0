// `lissom diagnose MODEL COMPRESSED`: where quality went, and which tensor or block is to blame.

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "command.h"
#include "console.h"
#include "pipeline/diagnose_job.h"
#include "table.h"
#include "verbs.h"

namespace lissom::cli {
namespace {

constexpr int kInterrupted = 130;
constexpr size_t kShown = 5;  ///< of a long list

struct Arguments {
  DiagnoseJob job;
  std::string text, report;
  double max_kld = NAN;
  bool no_generate = false, json = false, quiet = false;
};

double number(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_number() ? it->get<double>() : NAN;
}

std::string figure(double value) {
  return std::isnan(value) ? "–" : fmt::format("{:.4g}", value);
}

std::string part_of(const Json& row) {
  const auto block = row.at("block").get<int64_t>();
  return block >= 0 ? std::to_string(block) : block == -1 ? "embeddings" : "head";
}

void print_layers(const Json& layers) {
  using Align = Table::Align;
  Table table({{"block", Align::left},
               {"cosine", Align::right},
               {"error", Align::right},
               {"norm", Align::right},
               {"own cosine", Align::right},
               {"own error", Align::right},
               {"× others", Align::right},
               {"", Align::left}});
  for (const Json& l : layers) {
    const Json &state = l.at("state"), &own = l.at("own");
    table.row({part_of(l), fmt::format("{:.6f}", number(state, "cosine")),
               figure(number(state, "relative_error")), fmt::format("{:.4f}", number(state, "norm_ratio")),
               fmt::format("{:.6f}", number(own, "cosine")), figure(number(own, "relative_error")),
               fmt::format("{:.2f}", number(l, "to_peers")), l.at("outlier").get<bool>() ? "stands out" : ""});
  }
  fmt::print("{}\n", table.str());
}

void print_gains(const Json& scan) {
  using Align = Table::Align;
  std::vector<Json> gains;
  for (const char* kind : {"parts", "tensors"})
    for (const Json& g : scan.at(kind)) gains.push_back(g);
  std::ranges::stable_sort(gains,
                           [](const Json& a, const Json& b) { return number(a, "gain") > number(b, "gain"); });
  gains.resize(std::min(gains.size(), 2 * kShown));
  Table table(
      {{"restored", Align::left}, {"gain", Align::right}, {"±", Align::right}, {"of the loss", Align::right}});
  for (const Json& g : gains)
    table.row({g.at("name").get<std::string>(), figure(number(g, "gain")), figure(number(g, "gain_error")),
               fmt::format("{:.1f}%", 100 * number(g, "share"))});
  fmt::print("{}\n", table.str());
}

void print_result(const Json& report) {
  print_layers(report.at("layers"));
  if (const Json& scan = report.at("scan"); scan.is_object()) print_gains(scan);
  if (const Json& l = report.at("logits"); l.is_object())
    fmt::print(
        "KL divergence {} (99% below {}), same top token {:.2f}%, perplexity {} (base {}), logits' cosine {}, "
        "MSE {}\n",
        figure(number(l, "kld_mean")), figure(number(l, "kld_p99")), 100 * number(l, "same_top"),
        figure(number(l, "ppl")), figure(number(l, "ppl_base")), figure(number(l, "cosine")),
        figure(number(l, "mse")));
  for (const Json& c : report.at("culprits"))
    fmt::print("culprit: {} ({})\n", c.at("name").get<std::string>(), c.at("why").get<std::string>());
  const Json& verdict = report.at("verdict");
  for (const Json& reason : verdict.at("reasons")) fmt::print("fault: {}\n", reason.get<std::string>());
  fmt::print("{}\n", verdict.at("summary").get<std::string>());
}

int run(Arguments& a) {
  if (!a.text.empty()) a.job.text = a.text;
  if (!a.report.empty()) a.job.report = a.report;
  if (!std::isnan(a.max_kld)) a.job.max_kld = a.max_kld;
  a.job.generate = !a.no_generate;
  const auto outcome = run_diagnose(a.job, console_progress(a.quiet));
  end_progress();
  if (!outcome) return fail(outcome.error());
  if (a.json)
    fmt::print("{}\n", outcome->report.dump(1, ' ', false, Json::error_handler_t::replace));
  else
    print_result(outcome->report);
  if (outcome->interrupted) {
    fmt::print(stderr, "lissom: stopped; this is what was measured until then\n");
    return kInterrupted;
  }
  return outcome->healthy ? 0 : 1;
}

}  // namespace

void add_diagnose(CLI::App& app, int& exit_code) {
  Command verb(app, "diagnose", "Say where a compressed model lost its quality, and which part is to blame");
  auto a = std::make_shared<Arguments>();
  verb.option("MODEL", a->job.base, "The base: a folder, a .gguf, or org/name on the Hugging Face hub")
      .required();
  verb.option("COMPRESSED", a->job.compressed, "What was made of it").required();
  verb.option("--revision", a->job.revision, kRevisionHelp);
  verb.option("--text", a->text, "UTF-8 text to read; else the base samples its own");
  verb.option("--ctx", a->job.context, "Tokens per window").show_default();
  verb.option("--chunks", a->job.chunks, "At most so many windows; 0: all of the text").show_default();
  verb.option("--scan-seconds", a->job.scan_seconds,
              "Restore parts for at most so long, the most suspicious first; 0: not at all")
      .not_negative()
      .show_default();
  verb.flag("--all-tensors", a->job.all_tensors, "Restore every tensor, not those of the worst blocks alone");
  verb.flag("--no-generate", a->no_generate, "Do not try whether the two still talk");
  verb.flag("--exact", a->job.runtime.exact, "Run both in F32 arithmetic");
  verb.option("--max-kld", a->max_kld, "Exit 1 where the mean KL divergence (nats) is larger");
  verb.option("--report", a->report, "Folder for report.json and report.html");
  verb.option("--threads", a->job.runtime.threads, "0: the number of physical cores")
      .not_negative()
      .show_default();
  verb.option("--seed", a->job.seed, "Of all that is sampled").show_default();
  verb.flag("--json", a->json, "Print one JSON object");
  verb.flag("-q,--quiet", a->quiet, "No progress");
  verb.footer(
      "Examples:\n"
      "  lissom diagnose ./SmolLM2-135M small.gguf --text wiki.test.raw --report out\n"
      "  lissom diagnose big.gguf small.gguf --max-kld 0.05 --json\n"
      "Exit code: 0 healthy, 1 a culprit, broken generation or a limit that is not met, 2 bad input, 130 "
      "stopped "
      "by Ctrl-C (what was measured is reported).");
  verb.action([a, &exit_code] { exit_code = run(*a); });
}

}  // namespace lissom::cli
