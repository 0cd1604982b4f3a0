// `lissom check MODEL`: what a job would need here, before it starts.

#include <fmt/core.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/threads.h"
#include "bytes.h"
#include "command.h"
#include "console.h"
#include "hub/hub.h"
#include "lissom/compress.h"
#include "pipeline/forecast.h"
#include "pipeline/learning.h"
#include "pipeline/machine.h"
#include "table.h"
#include "verbs.h"

namespace lissom::cli {
namespace {

struct Options {
  CompressJob job;
  std::vector<std::string> schemes;
  std::string ram, disk, out = ".", calib, effort;
  int64_t context = 4096;
  bool no_verify = false, no_time = false, json = false, quiet = false;
};

struct Room {
  uint64_t memory = 0, disk = 0;  ///< 0: unknown
};

struct Verdict {
  bool compress = true, evaluate = true, run = true, disk = true;
  [[nodiscard]] bool all() const { return compress && evaluate && run && disk; }
};

Verdict verdict_of(const Forecast& f, const Room& room) {
  const auto fits = [](uint64_t need, uint64_t there) { return there == 0 || need <= there; };
  return {fits(f.compress_memory, room.memory), fits(f.evaluate_memory, room.memory),
          fits(f.run_memory, room.memory), fits(f.file_bytes, room.disk)};
}

Result<std::vector<Scheme>> schemes_of(const Options& o) {
  std::vector<Scheme> schemes;
  for (const std::string& name : o.schemes) {
    LISSOM_TRY(schemes.emplace_back(), find_scheme(name));
  }
  if (!schemes.empty()) return schemes;
  for (const std::string& name : scheme_names()) {
    LISSOM_TRY(Scheme scheme, builtin_scheme(name));
    if (scheme.selectable) schemes.push_back(std::move(scheme));
  }
  return schemes;
}

Result<Room> room_of(const Options& o) {
  Room room{available_memory(), free_disk(o.out)};
  if (!o.ram.empty()) {
    LISSOM_TRY(room.memory, parse_bytes("--ram", o.ram));
  }
  if (!o.disk.empty()) {
    LISSOM_TRY(room.disk, parse_bytes("--disk", o.disk));
  }
  return room;
}

nlohmann::json json_of(const Forecast& f, const Room& room) {
  const Verdict v = verdict_of(f, room);
  nlohmann::json json = {{"scheme", f.scheme},
                         {"bits_per_weight", f.bits_per_weight},
                         {"file_bytes", f.file_bytes},
                         {"compress_memory_bytes", f.compress_memory},
                         {"evaluate_memory_bytes", f.evaluate_memory},
                         {"run_memory_bytes", f.run_memory},
                         {"fits",
                          {{"all", v.all()},
                           {"compress", v.compress},
                           {"evaluate", v.evaluate},
                           {"run", v.run},
                           {"disk", v.disk}}}};
  if (!f.times) return json;
  json["compress_seconds"] = f.times->compress();
  json["stages"] = {{"digest", f.times->digest},       {"sample", f.times->sample},
                    {"calibrate", f.times->calibrate}, {"feed_back", f.times->feed_back},
                    {"learn", f.times->learn},         {"encode", f.times->encode},
                    {"evaluate", f.times->evaluate}};
  json["prompt_tokens_per_second"] = f.times->prompt_tokens_per_second;
  json["generate_tokens_per_second"] = f.times->generate_tokens_per_second;
  return json;
}

std::string complaint(const Verdict& v) {
  std::string text;
  const auto add = [&text](bool fits, const char* what) {
    if (!fits) text += (text.empty() ? "" : ", ") + std::string(what);
  };
  add(v.disk, "disk");
  add(v.compress, "compress");
  add(v.evaluate, "eval");
  add(v.run, "run");
  return text.empty() ? "fits" : "no: " + text;
}

void print_table(const std::vector<Forecast>& forecasts, const Room& room) {
  using Align = Table::Align;
  Table table({{"scheme", Align::left},
               {"bits", Align::right},
               {"file", Align::right},
               {"compress", Align::right},
               {"eval", Align::right},
               {"run", Align::right},
               {"time", Align::right},
               {"prompt t/s", Align::right},
               {"generated t/s", Align::right},
               {"", Align::left}});
  for (const Forecast& f : forecasts) {
    const auto speed = [&f](double ForecastTimes::*part) {
      return f.times && (*f.times).*part > 0 ? fmt::format("{:.0f}", (*f.times).*part) : std::string("–");
    };
    table.row({f.scheme, fmt::format("{:.2f}", f.bits_per_weight), human_bytes(f.file_bytes),
               human_bytes(f.compress_memory), f.evaluate_memory > 0 ? human_bytes(f.evaluate_memory) : "–",
               human_bytes(f.run_memory), f.times ? human_seconds(f.times->compress()) : "–",
               speed(&ForecastTimes::prompt_tokens_per_second),
               speed(&ForecastTimes::generate_tokens_per_second), complaint(verdict_of(f, room))});
  }
  fmt::print("{}", table.str());
}

Result<int> run(const Options& o) {
  const Progress progress = console_progress(o.quiet || o.json);
  const hub::FindOptions find{.revision = o.job.revision, .need = hub::Need::headers};
  LISSOM_TRY(const ModelPath where, hub::find_model(o.job.model, find, progress));
  LISSOM_TRY(const Checkpoint checkpoint, open_checkpoint(where.path.string()));
  LISSOM_TRY(const std::vector<Scheme> schemes, schemes_of(o));
  LISSOM_TRY(const Room room, room_of(o));
  CompressJob job = o.job;
  job.verify = !o.no_verify;
  job.data_free = o.calib == "none";
  if (!job.data_free && !o.calib.empty()) job.calib = o.calib;
  if (!o.ram.empty()) job.ram = room.memory;
  if (!o.effort.empty()) {
    LISSOM_TRY(job.effort, parse_effort(o.effort));
  }
  LISSOM_TRY(const EffortPlan effort, plan_effort(checkpoint, job, false, progress));
  LISSOM_TRY(const auto forecasts, forecast(checkpoint, job, schemes, o.context, effort, !o.no_time, progress));
  end_progress();
  bool any = false;
  for (const Forecast& f : forecasts) any |= verdict_of(f, room).all();
  if (o.json) {
    nlohmann::json json = {{"model", o.job.model},
                           {"threads", job.threads > 0 ? job.threads : physical_cores()},
                           {"memory_bytes", room.memory},
                           {"disk_bytes", room.disk},
                           {"context", o.context},
                           {"any_fits", any},
                           {"schemes", nlohmann::json::array()}};
    for (const Forecast& f : forecasts) json["schemes"].push_back(json_of(f, room));
    fmt::print("{}\n", json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
  } else {
    print_table(forecasts, room);
    fmt::print("room: {} of memory, {} on disk. Memory is the peak of each verb; time is compress, {}{}.\n",
               room.memory > 0 ? human_bytes(room.memory) : "unknown",
               room.disk > 0 ? human_bytes(room.disk) : "unknown",
               effort.learning ? fmt::format("with {} tokens of learning and ", effort.learning->tokens) : "",
               o.no_verify ? "without evaluation" : "with its evaluation");
  }
  if (!any) std::fputs("lissom: no scheme fits\n", stderr);
  return any ? 0 : 1;
}

}  // namespace

void add_check(CLI::App& app, int& exit_code) {
  Command verb(app, "check", "Foretell memory, disk and time of a job, from headers alone");
  auto o = std::make_shared<Options>();
  verb.option("MODEL", o->job.model, "A folder, a .gguf, or org/name on the Hugging Face hub").required();
  verb.option("--revision", o->job.revision, kRevisionHelp);
  verb.option("--scheme,-s", o->schemes, "Schemes to foretell, with commas; else all that --size picks from")
      .comma_separated();
  verb.option("--ram", o->ram, "Memory that may be used: 8GB; else what is available");
  verb.option("--disk", o->disk, "Disk space that may be used; else what is free at --out");
  verb.option("--out,-o", o->out, "Where the output would go").show_default();
  verb.option("--ctx", o->context, "Positions that `run` keeps, up to the model's own limit")
      .show_default()
      .between(8, 1 << 24);
  verb.option("--calib", o->calib, "As for compress: a text, or none");
  verb.option("--effort", o->effort, "As for compress: fast, default or high; else what is possible here");
  verb.flag("--no-verify", o->no_verify, "As for compress: without evaluation");
  verb.flag("--no-time", o->no_time, "Leave the measurement of this machine out, and the times with it");
  verb.option("--threads,-t", o->job.threads, "0: the number of physical cores")
      .show_default()
      .between(0, 1024);
  verb.flag("--json", o->json, "Print one JSON object");
  verb.flag("--quiet,-q", o->quiet, "No progress");
  verb.footer(
      "Weights are not read. Exit code: 0 where a scheme fits, 1 where none does, 2 bad input.\n"
      "Example:\n  lissom check ./SmolLM2-135M --ram 1GB --disk 200MB");
  verb.action([o, &exit_code] {
    const auto code = run(*o);
    end_progress();
    exit_code = code ? *code : interrupted() ? 130 : fail(code.error());
  });
}

}  // namespace lissom::cli
