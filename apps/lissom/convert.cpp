// `lissom convert`: Hugging Face folder ↔ GGUF.

#include <fmt/core.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "command.h"
#include "console.h"
#include "lissom/model.h"
#include "verbs.h"

namespace lissom::cli {
namespace {

struct Arguments {
  std::string in, out, revision;
  ConvertOptions options;
  double shard_gigabytes = 5;
  bool json = false;
};

Result<void> run(const Arguments& a) {
  const Progress progress = console_progress(a.json);
  LISSOM_TRY(const Checkpoint checkpoint, open_checkpoint(a.in, {.revision = a.revision}, progress));
  ConvertOptions options = a.options;
  options.shard_bytes = static_cast<uint64_t>(a.shard_gigabytes * 1e9);
  LISSOM_CHECK(convert(checkpoint, a.out, options, progress));
  end_progress();
  if (a.json) {
    const nlohmann::json result = {{"out", a.out},
                                   {"architecture", checkpoint.config.arch},
                                   {"tensors", checkpoint.tensors->tensors().size()}};
    fmt::print("{}\n", result.dump());
  } else {
    fmt::print(stderr, "wrote {} ({}, {} tensors)\n", a.out, checkpoint.config.arch,
               checkpoint.tensors->tensors().size());
  }
  return {};
}

}  // namespace

void add_convert(CLI::App& app, int& exit_code) {
  Command verb(app, "convert", "Convert between a Hugging Face folder and a GGUF, without compressing");
  verb.footer(
      "Examples:\n"
      "  lissom convert ./SmolLM2-135M smollm2.gguf --type F16\n"
      "  lissom convert smollm2.gguf ./SmolLM2-135M --type BF16");
  auto a = std::make_shared<Arguments>();
  verb.option("IN", a->in, "Hugging Face folder, GGUF, or org/name on the Hugging Face hub").required();
  verb.option("--revision", a->revision, kRevisionHelp);
  verb.option("OUT", a->out, "a .gguf file, or a new folder").required();
  verb.option("--type", a->options.type,
              "of matrices: keep, F32, F16 or BF16; quantized tensors become F32 with keep")
      .show_default();
  verb.option("--shard-size", a->shard_gigabytes, "GB of each safetensors file")
      .show_default()
      .between(0.000001, 1000.0);
  verb.flag("--json", a->json, "print what was written as JSON");
  verb.action([a, &exit_code] {
    const auto done = run(*a);
    exit_code = done ? 0 : fail(done.error());
  });
}

}  // namespace lissom::cli
