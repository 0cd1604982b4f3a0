#pragma once
// What a model is worth: perplexity, KL divergence to a base, speed, memory.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lissom/model.h"
#include "lissom/progress.h"
#include "lissom/result.h"
#include "lissom/runtime.h"

namespace lissom {

struct Estimate {
  double value = 0, error = 0;  ///< error: standard error of the value
};

struct EvalOptions {
  int64_t context = 512;    ///< tokens per window, at least 4
  int64_t chunks = 0;       ///< windows; 0: the whole text
  bool exact_base = false;  ///< run the base in F32 arithmetic whatever `runtime.exact` says: the base against
                            ///< itself then tells what the fast kernels' rounding costs
  RuntimeOptions runtime;
};

/// llama-perplexity's protocol: windows of `context` tokens without overlap, BOS put first where the model
/// wants one, the second half of each window scored. KL divergences are KL(base‖model) in nats over the whole
/// vocabulary, one per scored token. docs/evaluation.md defines every figure and its standard error.
struct EvalResult {
  int64_t chunks = 0, tokens = 0;  ///< scored
  Estimate ppl, ppl_base;
  Estimate ln_ppl_ratio;        ///< ln(ppl/ppl_base), with the paired error
  Estimate kld_mean, same_top;  ///< nats; share of positions with the same most likely token
  double kld_median = 0, kld_p90 = 0, kld_p99 = 0, kld_max = 0;
  double kld_median_error = 0, kld_p90_error = 0, kld_p99_error = 0, kld_max_error = 0;  ///< standard errors
  double tokens_per_second = 0;  ///< of the model under test, prompt processing
  uint64_t peak_rss = 0;         ///< bytes, of the process
  bool has_base = false;
};

/// `base` may be null: perplexity only. `text` is UTF-8. Errors: a text too short for one window, a model
/// without next-token logits, vocabularies that differ, logits that are not finite.
[[nodiscard]] Result<EvalResult> evaluate(const Checkpoint& model, const Checkpoint* base,
                                          std::string_view text, const EvalOptions& options,
                                          const Progress& progress);

struct BenchResult {
  std::string target;  ///< the kernels that ran: "scalar", "avx2" or "avx512"
  int threads = 0;
  int64_t prompt = 0, generate = 0;
  double prompt_tokens_per_second = 0, generate_tokens_per_second = 0, load_seconds = 0;
  uint64_t peak_rss = 0;
};
struct BenchOptions {
  std::vector<int> threads{0};
  int64_t prompt = 512, generate = 64;
  int repeats = 3;  ///< the median is reported
};
[[nodiscard]] Result<std::vector<BenchResult>> bench(const Checkpoint& model, const BenchOptions& options,
                                                     const Progress& progress);

}  // namespace lissom
