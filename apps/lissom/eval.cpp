// `lissom eval MODEL`: perplexity, and how far a model is from its base.

#include <fmt/core.h>

#include <cmath>
#include <memory>
#include <optional>
#include <string>

#include "command.h"
#include "console.h"
#include "data/text.h"
#include "lissom/eval.h"
#include "report/report.h"
#include "table.h"
#include "verbs.h"

namespace lissom::cli {
namespace {

constexpr int kInterrupted = 130;

struct Arguments {
  std::string model, revision, base, text;
  EvalOptions options;
  double max_kld = NAN, max_ppl_delta = NAN;
  bool json = false, quiet = false;
};

Result<void> check(const Arguments& a) {
  if (a.text.empty()) {
    return bad_input("eval needs a text to read: give --text FILE, for example the test split of WikiText-2");
  }
  if (a.options.context < 4) return bad_input("--ctx " + std::to_string(a.options.context) + ": at least 4");
  if (a.options.chunks < 0) return bad_input("--chunks " + std::to_string(a.options.chunks) + ": 0 or more");
  if (a.options.runtime.threads < 0) return bad_input("--threads cannot be negative");
  if (!a.base.empty()) return {};
  const bool needs_base = !std::isnan(a.max_kld) || !std::isnan(a.max_ppl_delta) || a.options.exact_base;
  if (needs_base) return bad_input("--max-kld, --max-ppl-delta and --exact-base need --against BASE");
  return {};
}

Result<EvalResult> measure(const Arguments& a) {
  LISSOM_CHECK(check(a));
  // Everything cheap that can be wrong is found before a model is loaded.
  LISSOM_TRY(const std::string text, read_text(a.text));
  const Progress progress = console_progress(a.quiet);
  LISSOM_TRY(const Checkpoint model, open_checkpoint(a.model, {.revision = a.revision}, progress));
  std::optional<Checkpoint> base;
  if (!a.base.empty()) {
    LISSOM_TRY(base, open_checkpoint(a.base, {.need_tokenizer = false}, progress));
  }
  auto result = evaluate(model, base ? &*base : nullptr, text, a.options, progress);
  end_progress();
  return result;
}

std::string number(double value) {
  return fmt::format("{:.6g}", value);
}

void print_table(const EvalResult& r) {
  using Align = Table::Align;
  Table table({{"", Align::left}, {"value", Align::right}, {"± error", Align::right}});
  const auto row = [&](const char* name, double value, double error) {
    table.row({name, number(value), fmt::format("{:.2g}", error)});
  };
  row("perplexity", r.ppl.value, r.ppl.error);
  if (r.has_base) {
    row("perplexity of the base", r.ppl_base.value, r.ppl_base.error);
    row("ln(ppl/ppl of the base)", r.ln_ppl_ratio.value, r.ln_ppl_ratio.error);
    row("KL divergence, mean (nats)", r.kld_mean.value, r.kld_mean.error);
    row("  median", r.kld_median, r.kld_median_error);
    row("  90% below", r.kld_p90, r.kld_p90_error);
    row("  99% below", r.kld_p99, r.kld_p99_error);
    row("  largest", r.kld_max, r.kld_max_error);
    row("same top token (%)", 100 * r.same_top.value, 100 * r.same_top.error);
  }
  fmt::print("{}\n{} tokens scored in {} windows, {:.0f} tokens/s, peak memory {}\n", table.str(), r.tokens,
             r.chunks, r.tokens_per_second, human_bytes(r.peak_rss));
}

/// Says on stderr which limits are not met.
bool limits_met(const Arguments& a, const EvalResult& r) {
  bool met = true;
  const auto limit = [&](const char* option, double most, double value) {
    if (std::isnan(most) || value <= most) return;
    met = false;
    fmt::print(stderr, "lissom: {} {:g} is not met: {:.6g}\n", option, most, value);
  };
  limit("--max-kld", a.max_kld, r.kld_mean.value);
  limit("--max-ppl-delta", a.max_ppl_delta, r.ppl.value - r.ppl_base.value);
  return met;
}

int run(const Arguments& a) {
  const auto result = measure(a);
  if (!result) {
    fail(result.error());
    return result.error().kind == ErrorKind::cancelled ? kInterrupted : 2;
  }
  const bool met = limits_met(a, *result);
  if (a.json) {
    Json json = {{"model", a.model}};
    if (result->has_base) json["base"] = a.base;
    json["text"] = a.text;
    json["ctx"] = a.options.context;
    json.update(eval_json(*result));
    json["limits_met"] = met;
    fmt::print("{}\n", json.dump(1, ' ', false, Json::error_handler_t::replace));
  } else {
    print_table(*result);
  }
  return met ? 0 : 1;
}

}  // namespace

void add_eval(CLI::App& app, int& exit_code) {
  Command verb(app, "eval", "Measure perplexity, and the KL divergence from a base model");
  auto a = std::make_shared<Arguments>();
  verb.option("MODEL", a->model, "A folder, a .gguf, or org/name on the Hugging Face hub").required();
  verb.option("--revision", a->revision, kRevisionHelp);
  verb.option("--against", a->base, "The base to compare with, mostly what MODEL was made from");
  verb.option("--text", a->text, "UTF-8 text to read");
  verb.option("--ctx", a->options.context, "Tokens per window; the second half of each is scored")
      .show_default();
  verb.option("--chunks", a->options.chunks, "At most so many windows; 0: all of the text").show_default();
  verb.flag("--exact-base", a->options.exact_base,
            "Run the base in F32 arithmetic: `eval F --against F` then shows what fast kernels cost");
  verb.flag("--exact", a->options.runtime.exact, "Run both in F32 arithmetic");
  verb.option("--max-kld", a->max_kld, "Exit 1 where the mean KL divergence (nats) is larger");
  verb.option("--max-ppl-delta", a->max_ppl_delta, "Exit 1 where perplexity is larger than the base's by more");
  verb.option("--threads", a->options.runtime.threads, "0: the number of physical cores").show_default();
  verb.flag("--json", a->json, "Print one JSON object");
  verb.flag("-q,--quiet", a->quiet, "No progress");
  verb.footer(
      "Examples:\n"
      "  lissom eval small.gguf --against ./SmolLM2-135M --text wiki.test.raw --chunks 20\n"
      "  lissom eval small.gguf --against big.gguf --text wiki.test.raw --max-kld 0.05 --json\n"
      "Exit code: 0 done, 1 a limit is not met, 2 bad input.");
  verb.action([a, &exit_code] { exit_code = run(*a); });
}

}  // namespace lissom::cli
