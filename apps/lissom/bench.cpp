// `lissom bench MODEL`: tokens per second, and how much of the machine they use.

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
  bool no_probe = false, json = false, quiet = false;
};

double prompt_float_ops(const BenchResult& r) {
  return r.prompt_bf16_ops + r.prompt_f32_ops;
}

nlohmann::json machine_of(const MachinePeak& peak) {
  return {{"read_gb_per_second", peak.read_bytes_per_second * 1e-9},
          {"int8_tops", peak.int8_ops_per_second * 1e-12},
          {"bf16_tflops", peak.bf16_ops_per_second * 1e-12},
          {"f32_tflops", peak.f32_ops_per_second * 1e-12}};
}

nlohmann::json json_of(const BenchResult& r) {
  const bool probed = r.peak.read_bytes_per_second > 0;
  return {{"target", r.target},
          {"threads", r.threads},
          {"prompt", r.prompt},
          {"generate", r.generate},
          {"prompt_tokens_per_second", r.prompt_tokens_per_second},
          {"generate_tokens_per_second", r.generate_tokens_per_second},
          {"prompt_int8_ops_per_token", r.prompt_int8_ops},
          {"prompt_float_ops_per_token", prompt_float_ops(r)},
          {"prompt_tops", r.prompt_int8_ops * r.prompt_tokens_per_second * 1e-12},
          {"prompt_tflops", prompt_float_ops(r) * r.prompt_tokens_per_second * 1e-12},
          {"prompt_share_of_peak", probed ? nlohmann::json(r.prompt_share) : nlohmann::json()},
          {"generate_bytes_per_token", r.generate_bytes},
          {"generate_gb_per_second", r.generate_bytes * r.generate_tokens_per_second * 1e-9},
          {"generate_share_of_bandwidth", probed ? nlohmann::json(r.generate_share) : nlohmann::json()},
          {"machine", probed ? machine_of(r.peak) : nlohmann::json()},
          {"load_seconds", r.load_seconds},
          {"peak_rss_bytes", r.peak_rss}};
}

void print_json(const Options& o, const std::vector<BenchResult>& results) {
  nlohmann::json json = results.size() == 1 ? json_of(results[0]) : nlohmann::json::object();
  json["model"] = o.model;
  json["depth"] = o.bench.depth;
  json["sequences"] = o.bench.sequences;
  json["results"] = nlohmann::json::array();
  for (const BenchResult& r : results) json["results"].push_back(json_of(r));
  fmt::print("{}\n", json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
}

std::string share(double value) {
  return value > 0 ? fmt::format("{:.0f}%", 100 * value) : std::string("–");
}

/// "0.43 TOPS", "0.21 TFLOPS", or both for a model that mixes integer and float weights.
std::string arithmetic(const BenchResult& r) {
  const double scale = r.prompt_tokens_per_second * 1e-12;
  std::string text;
  if (r.prompt_int8_ops > 0) text = fmt::format("{:.3g} TOPS", r.prompt_int8_ops * scale);
  if (prompt_float_ops(r) > 0)
    text += fmt::format("{}{:.3g} TFLOPS", text.empty() ? "" : " + ", prompt_float_ops(r) * scale);
  return text;
}

std::string threads_of(const BenchResult& r) {
  return r.threads == 0 ? "all cores" : fmt::format("{} thread{}", r.threads, r.threads == 1 ? "" : "s");
}

std::string machine_line(const BenchResult& r) {
  const MachinePeak& peak = r.peak;
  if (peak.read_bytes_per_second <= 0) return "";
  std::string text = fmt::format("machine, {}: reads {:.1f} GB/s; int8 {:.2f} TOPS, F32 {:.2f} TFLOPS",
                                 threads_of(r), peak.read_bytes_per_second * 1e-9,
                                 peak.int8_ops_per_second * 1e-12, peak.f32_ops_per_second * 1e-12);
  if (peak.bf16_ops_per_second > 0)
    text += fmt::format(", BF16 {:.2f} TFLOPS", peak.bf16_ops_per_second * 1e-12);
  return text + "\n";
}

void print_table(const std::vector<BenchResult>& results) {
  using Align = Table::Align;
  Table table({{"threads", Align::right},
               {"prompt tokens/s", Align::right},
               {"arithmetic", Align::right},
               {"of peak", Align::right},
               {"generated tokens/s", Align::right},
               {"reads", Align::right},
               {"of bandwidth", Align::right},
               {"load", Align::right},
               {"peak memory", Align::right}});
  const std::string none = "–";
  for (const BenchResult& r : results) {
    const bool prompt = r.prompt > 0, generate = r.generate > 0;
    table.row(
        {r.threads > 0 ? std::to_string(r.threads) : "all cores",
         prompt ? fmt::format("{:.1f}", r.prompt_tokens_per_second) : none, prompt ? arithmetic(r) : none,
         share(r.prompt_share), generate ? fmt::format("{:.1f}", r.generate_tokens_per_second) : none,
         generate ? fmt::format("{:.1f} GB/s", r.generate_bytes * r.generate_tokens_per_second * 1e-9) : none,
         share(r.generate_share), human_seconds(r.load_seconds), human_bytes(r.peak_rss)});
  }
  std::string machine;
  for (const BenchResult& r : results) machine += machine_line(r);
  fmt::print("{}{}kernels: {}\n", table.str(), machine, results.front().target);
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
  Command verb(app, "bench",
               "Measure tokens per second, their share of the machine's peak, load time and memory");
  auto o = std::make_shared<Options>();
  verb.option("MODEL", o->model, "A folder, a .gguf, or org/name on the Hugging Face hub").required();
  verb.option("--revision", o->revision, kRevisionHelp);
  verb.option("--threads,-t", o->bench.threads, "Thread counts, separated by commas; 0: all physical cores")
      .comma_separated()
      .between(0, 1024);
  verb.option("--prompt", o->bench.prompt, "Tokens of the prompt").show_default();
  verb.option("--generate", o->bench.generate, "Tokens to generate, one at a time").show_default();
  verb.option("--depth", o->bench.depth, "Positions that are there before tokens are generated").show_default();
  verb.option("--sequences", o->bench.sequences,
              "Sequences that are read, and generate, together; all their tokens count")
      .show_default();
  verb.option("--repeats", o->bench.repeats, "Timed runs; the median counts").show_default();
  verb.flag("--no-probe", o->no_probe, "Do not measure what the machine does at most: no shares of it");
  verb.flag("--json", o->json, "Print one JSON object");
  verb.flag("--quiet,-q", o->quiet, "No progress");
  verb.footer(
      "A probe of two seconds measures, before each thread count, how fast memory is read and the most "
      "operations\n"
      "that the kernels' instructions do. \"of peak\": of those, what the prompt's products with weights "
      "used;\n"
      "\"of bandwidth\": of the former, the weights and cached keys and values that each generated token "
      "reads.\n"
      "Example:\n  lissom bench model.gguf --threads 1,2 --prompt 512 --generate 64 --json");
  verb.action([o, &exit_code] {
    o->bench.probe = !o->no_probe;
    exit_code = run(*o);
  });
}

}  // namespace lissom::cli
