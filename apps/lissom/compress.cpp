// `lissom compress MODEL`: the main job.

#include <fmt/core.h>

#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "bytes.h"
#include "command.h"
#include "console.h"
#include "pipeline/compress_job.h"
#include "pipeline/fold_job.h"
#include "pipeline/learning.h"
#include "table.h"
#include "verbs.h"

namespace lissom::cli {
namespace {

constexpr int kInterrupted = 130;

struct Arguments {
  CompressJob job;
  std::string out, calib, imatrix, save_imatrix, eval_text, report, size, disk, effort, ram, pad_ffn = "auto";
  std::vector<std::string> targets, schemes, folds;
  double max_kld = NAN, max_ppl_delta = NAN;
  bool no_verify = false, no_check = false, json = false, quiet = false;
};

Result<CompressJob> job_of(const Arguments& a) {
  CompressJob job = a.job;
  job.out = a.out;
  if (!a.out.empty() && a.out.back() == '/') job.out = job.out / "";
  job.schemes = a.schemes;
  job.schemes.insert(job.schemes.end(), a.targets.begin(), a.targets.end());
  const auto path = [](const std::string& text) {
    return text.empty() ? std::optional<std::filesystem::path>() : std::optional<std::filesystem::path>(text);
  };
  job.data_free = a.calib == "none";
  if (!job.data_free) job.calib = path(a.calib);
  job.imatrix = path(a.imatrix);
  job.save_imatrix = path(a.save_imatrix);
  job.eval_text = path(a.eval_text);
  job.report = path(a.report);
  job.verify = !a.no_verify;
  job.check_room = !a.no_check;
  if (!std::isnan(a.max_kld)) job.max_kld = a.max_kld;
  if (!std::isnan(a.max_ppl_delta)) job.max_ppl_delta = a.max_ppl_delta;
  if (!a.size.empty()) {
    LISSOM_TRY(job.file_bytes, parse_bytes("--size", a.size));
  }
  if (!a.effort.empty()) {
    LISSOM_TRY(job.effort, parse_effort(a.effort));
  }
  for (const std::string& word : a.folds) LISSOM_CHECK(add_fold(word, job.folds));
  if (a.pad_ffn != "auto") job.pad_ffn = a.pad_ffn == "always" ? PadFfn::always : PadFfn::never;
  if (!a.ram.empty()) {
    LISSOM_TRY(job.ram, parse_bytes("--ram", a.ram));
  }
  if (!a.disk.empty()) {
    LISSOM_TRY(job.disk, parse_bytes("--disk", a.disk));
    if (job.disk == 0) return bad_input("--disk 0: nothing of the model could lie there");
  }
  return job;
}

double number(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_number() ? it->get<double>() : NAN;
}

std::string figure(double value, int digits) {
  return std::isnan(value) ? "–" : fmt::format("{:.{}f}", value, digits);
}

void print_results(const CompressOutcome& outcome) {
  using Align = Table::Align;
  Table table({{"scheme", Align::left},
               {"file", Align::right},
               {"bits", Align::right},
               {"ppl", Align::right},
               {"Δppl", Align::right},
               {"KL mean", Align::right},
               {"±", Align::right},
               {"KL 99%", Align::right},
               {"same top", Align::right},
               {"tokens/s", Align::right},
               {"", Align::left}});
  for (const Json& r : outcome.report.at("results")) {
    const Json eval = r.value("eval", Json::object());
    const double ppl = number(eval, "ppl"), base = number(eval, "ppl_base");
    const double top = number(eval, "same_top");
    const bool missed = r.contains("limits_met") && !r["limits_met"].get<bool>();
    table.row({r.at("scheme").get<std::string>(), human_bytes(r.at("file_bytes").get<uint64_t>()),
               figure(number(r, "bits_per_weight"), 2), figure(ppl, 3), figure(ppl - base, 3),
               figure(number(eval, "kld_mean"), 5), figure(number(eval, "kld_mean_error"), 5),
               figure(number(eval, "kld_p99"), 4), std::isnan(top) ? "–" : fmt::format("{:.2f}%", 100 * top),
               figure(number(eval, "tokens_per_second"), 0), missed ? "over the limit" : ""});
  }
  std::fputs(table.str().c_str(), stdout);
}

void print_plan(const CompressOutcome& outcome) {
  using Align = Table::Align;
  for (const Json& r : outcome.report.at("results")) {
    fmt::print("{}: {}, {:.2f} bits per weight\n", r.at("scheme").get<std::string>(),
               human_bytes(r.at("file_bytes").get<uint64_t>()), number(r, "bits_per_weight"));
    Table table({{"tensor", Align::left},
                 {"from", Align::left},
                 {"to", Align::left},
                 {"bytes", Align::right},
                 {"why", Align::left}});
    for (const Json& t : r.at("tensors"))
      table.row({t.at("name").get<std::string>(), t.at("from").get<std::string>(),
                 t.at("codec").get<std::string>(), human_bytes(t.at("bytes_after").get<uint64_t>()),
                 t.at("reason").get<std::string>()});
    std::fputs(table.str().c_str(), stdout);
  }
}

int run(const Arguments& a) {
  const auto job = job_of(a);
  if (!job) return fail(job.error());
  const auto outcome = run_compress(*job, console_progress(a.quiet));
  end_progress();
  if (!outcome) {
    fail(outcome.error());
    if (outcome.error().kind == ErrorKind::limit) return 1;
    if (outcome.error().kind != ErrorKind::cancelled) return 2;
    std::fputs("lissom: what is done is kept; the same command goes on from there\n", stderr);
    return kInterrupted;
  }
  if (a.json) {
    Json json = outcome->report;
    if (!job->dry_run)
      for (Json& r : json["results"]) r.erase("tensors");
    json["limits_met"] = outcome->limits_met;
    json["reused"] = outcome->reused;
    fmt::print("{}\n", json.dump(1, ' ', false, Json::error_handler_t::replace));
  } else if (job->dry_run) {
    print_plan(*outcome);
  } else {
    print_results(*outcome);
  }
  if (!outcome->limits_met) std::fputs("lissom: a limit is not met\n", stderr);
  return outcome->limits_met ? 0 : 1;
}

}  // namespace

void add_compress(CLI::App& app, int& exit_code) {
  Command verb(app, "compress", "Make a model smaller, and measure what it lost");
  auto a = std::make_shared<Arguments>();
  verb.option("model", a->job.model, "A folder, a .gguf, or org/name on the Hugging Face hub").required();
  verb.option("--revision", a->job.revision, kRevisionHelp);
  verb.option(
      "-o,--out", a->out,
      "A .gguf (.safetensors for a pack) to write, or a folder (MODEL-SCHEME.gguf in it; of another --format: "
      "the folder itself)");
  verb.option("--format", a->job.format,
              "gguf; pack, which also holds lissom's own codecs; or a folder for vLLM and transformers: "
              "compressed-tensors, gptq, gptq_v2 or awq")
      .show_default()
      .one_of({"gguf", "pack", "compressed-tensors", "gptq", "gptq_v2", "awq"});
  verb.option("-t,--target", a->targets, "quality, balanced or size; several with commas").comma_separated();
  verb.option("-s,--scheme", a->schemes,
              "Q4_K_M and the like, or a YAML file; several with commas. "
              "Of a folder: w4a16-g128 and the like, w8a8, fp8, nvfp4a16, mxfp4a16")
      .comma_separated();
  verb.option("--bpw", a->job.bits_per_weight,
              "The best choice of codecs, tensor by tensor, within so many bits per weight")
      .positive();
  verb.option("--size", a->size, "The best choice of codecs whose file is no larger: 80MB, 1.5GB");
  verb.option(
      "--effort", a->effort,
      "fast: statistics alone; default: learn the values for some minutes; high: for up to an hour. The "
      "latter two need the engine (LibTorch). A search measures more with each");
  verb.option("--algorithm", a->job.algorithm,
              "What rounds the weights: search (each block for itself; what happens with --effort fast), or "
              "error-feedback (GPTQ-like: later columns make up for what rounding earlier ones loses; what "
              "learning begins with, and what packs do without --effort fast)")
      .one_of({"search", "error-feedback"});
  verb.option("--fold", a->folds,
              "Change the weights first, so that the model says the same and less is lost; runtimes need know "
              "nothing: awq (scale channels by what the codecs lose), heads (rotate v and o within each head), "
              "residual (rotate what goes between the blocks); several with commas")
      .comma_separated();
  verb.option(
          "--pad-ffn", a->pad_ffn,
          "Widen the FFN by neurons of zeros to a multiple of 256, so that K- and IQ-quants fit its rows; the "
          "model says the same. auto: for --bpw, --size and --max-kld, where that is a sixteenth or less")
      .show_default()
      .one_of({"auto", "always", "never"});
  verb.option("--ram", a->ram, "Memory that learning may take: 6GB; else what is free");
  verb.option(
          "--device", a->job.device,
          "Where gradients of error feedback and learning are computed: cpu, or with a LibTorch for GPUs cuda, "
          "cuda:1")
      .show_default();
  verb.option("--calib", a->calib,
              "Text for the importance statistics, or none; else the model samples its own");
  verb.option("--calib-chunks", a->job.calib_chunks, "At most so many chunks of 512 tokens; 0: all of the text")
      .show_default();
  verb.option("--imatrix", a->imatrix, "Importance statistics of llama-imatrix or --save-imatrix");
  verb.option("--save-imatrix", a->save_imatrix, "Keep the statistics, as llama-quantize reads them");
  verb.option("--eval-text", a->eval_text, "Text to judge by; else the tail of --calib, or the model's own");
  verb.option("--eval-chunks", a->job.eval_chunks, "At most so many windows; 0: all of the text")
      .show_default();
  verb.option("--ctx", a->job.context, "Tokens per window of the evaluation").show_default();
  verb.flag("--no-verify", a->no_verify, "Do not evaluate what was written");
  verb.option(
      "--max-kld", a->max_kld,
      "Exit 1 where the mean KL divergence (nats) is larger; without scheme, target or size: the smallest file "
      "that meets it");
  verb.option("--max-ppl-delta", a->max_ppl_delta, "Exit 1 where perplexity grows by more");
  verb.option("--disk", a->disk,
              "Of org/name on the hub, hold so much at a time (6GB): a shard is fetched when it is needed "
              "and removed after use");
  verb.option("--report", a->report, "Folder for report.json and report.html");
  verb.option("--threads", a->job.threads, "0: the number of physical cores").show_default();
  verb.option("--seed", a->job.seed, "Of all that is sampled").show_default();
  verb.flag("--no-check", a->no_check, "Start even where memory or disk will not do");
  verb.flag("--dry-run", a->job.dry_run, "Print the plan and stop");
  verb.flag("--json", a->json, "Print one JSON object");
  verb.flag("-q,--quiet", a->quiet, "No progress");
  verb.footer(
      "Examples:\n"
      "  lissom compress ./SmolLM2-135M --target balanced -o smollm2.gguf\n"
      "  lissom compress ./SmolLM2-135M -o out --target quality,balanced,size --report out\n"
      "  lissom compress model.gguf --size 80MB --calib text.txt -o model-80MB.gguf\n"
      "  lissom compress ./SmolLM2-135M --max-kld 0.05 --calib text.txt --effort fast -o smallest.gguf\n"
      "  lissom compress ./SmolLM2-135M -o smollm2.gguf -s Q4_0 --effort fast --algorithm error-feedback "
      "--calib text.txt\n"
      "  lissom compress ./SmolLM2-135M -o smollm2.gguf -s Q4_0 --fold awq --effort fast --calib text.txt\n"
      "  lissom compress org/name -o out.gguf -s IQ3_M --imatrix org.imatrix --no-verify --disk 6GB\n"
      "  lissom compress ./SmolLM2-135M -o smollm2.safetensors --format pack --scheme Q4_0\n"
      "  lissom compress ./SmolLM2-135M -o smollm2-awq --format awq --scheme w4a16-g64-asym\n"
      "Exit code: 0 done, 1 a limit is not met, 2 bad input, 130 stopped by Ctrl-C (the same command goes "
      "on).");
  verb.action([a, &exit_code] { exit_code = run(*a); });
}

}  // namespace lissom::cli
