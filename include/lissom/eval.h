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

/// What the machine does at most with as many threads and the same kernels, measured just before; an operation
/// is a multiplication or an addition. 0: not measured, or the machine has no such instruction.
struct MachinePeak {
  double read_bytes_per_second = 0;  ///< from memory
  double int8_ops_per_second = 0, bf16_ops_per_second = 0, f32_ops_per_second = 0;
};

/// Operations are those of the products with weights, averages over the tokens: docs/benchmarks.md.
struct BenchResult {
  std::string target;  ///< the kernels that ran: "scalar", "avx2" or "avx512"
  int threads = 0;
  int64_t prompt = 0, generate = 0;
  double prompt_tokens_per_second = 0, generate_tokens_per_second = 0, load_seconds = 0;
  double prompt_int8_ops = 0, prompt_bf16_ops = 0, prompt_f32_ops = 0;  ///< per token
  double generate_bytes = 0;  ///< per token: weights as they are held, and the cached keys and values
  MachinePeak peak;
  double prompt_share = 0;    ///< of the peaks: the time that the operations take at them, over the time taken
  double generate_share = 0;  ///< of the memory's bandwidth
  uint64_t peak_rss = 0;      ///< bytes, of the process while the model was loaded and run
};
/// prompt_share of a result whose other fields are known; 0 where the peak of what it does is not.
[[nodiscard]] double share_of_peak(const BenchResult& result);
struct BenchOptions {
  std::vector<int> threads{0};
  int64_t prompt = 512, generate = 64;
  int64_t depth = 0;      ///< positions that each sequence has before it generates
  int64_t sequences = 1;  ///< that are read, and generate, together: a speed counts the tokens of all
  int repeats = 3;        ///< the median is reported
  bool probe = true;      ///< measure the machine's peaks: two seconds for each thread count
};
[[nodiscard]] Result<std::vector<BenchResult>> bench(const Checkpoint& model, const BenchOptions& options,
                                                     const Progress& progress);

}  // namespace lissom
