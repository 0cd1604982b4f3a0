#include <algorithm>
#include <chrono>
#include <utility>

#include "base/cpu.h"
#include "base/threads.h"
#include "eval/peak_memory.h"
#include "kernels/probe.h"
#include "lissom/eval.h"
#include "runtime/work.h"

namespace lissom {
namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<int64_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// Ids without meaning: speed does not depend on them.
std::vector<int32_t> arbitrary_tokens(int64_t n, int64_t vocab) {
  std::vector<int32_t> ids(static_cast<size_t>(n));
  uint64_t state = 0x9e3779b97f4a7c15U;
  for (int32_t& id : ids) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    id = static_cast<int32_t>((state >> 33) % static_cast<uint64_t>(vocab));
  }
  return ids;
}

Result<double> time_prompt(Session& session, std::span<const int32_t> ids) {
  session.clear();
  const auto begin = Clock::now();
  LISSOM_TRY([[maybe_unused]] const auto logits, read_prompt(session, ids));
  return static_cast<double>(ids.size()) / seconds_since(begin);
}

Result<double> time_generation(Session& session, std::span<const int32_t> ids) {
  session.clear();
  const auto begin = Clock::now();
  for (const int32_t& id : ids) {
    Batch batch;
    batch.tokens = {&id, 1};
    LISSOM_TRY([[maybe_unused]] const auto logits, session.run(batch));
  }
  return static_cast<double>(ids.size()) / seconds_since(begin);
}

Result<MachinePeak> probe(Target target, int threads) {
  ThreadPool pool(threads);
  LISSOM_TRY(const kernels::MachineLimits found, kernels::probe_machine(target, pool));
  return MachinePeak{found.read_bytes_per_second, found.int8_ops_per_second, found.bf16_ops_per_second,
                     found.f32_ops_per_second};
}

/// What the tokens cost, and how near to the machine's peaks that was.
Result<void> account(const Model& model, BenchResult& result) {
  if (result.prompt > 0) {
    LISSOM_TRY(const runtime::Work work, runtime::work_of_prompt(model, result.prompt));
    const auto tokens = static_cast<double>(result.prompt);
    result.prompt_int8_ops = static_cast<double>(work.int8_ops) / tokens;
    result.prompt_bf16_ops = static_cast<double>(work.bf16_ops) / tokens;
    result.prompt_f32_ops = static_cast<double>(work.f32_ops) / tokens;
    result.prompt_share = share_of_peak(result);
  }
  if (result.generate > 0) {
    LISSOM_TRY(const runtime::Work work, runtime::work_of(model, 1, 1));
    LISSOM_TRY(const int64_t cache, runtime::cache_bytes_of_generation(model, result.generate));
    result.generate_bytes = static_cast<double>(work.weight_bytes) +
                            static_cast<double>(cache) / static_cast<double>(result.generate);
    if (result.peak.read_bytes_per_second > 0)
      result.generate_share =
          result.generate_bytes * result.generate_tokens_per_second / result.peak.read_bytes_per_second;
  }
  return {};
}

struct Job {
  const Checkpoint& checkpoint;
  const BenchOptions& options;
  const Progress& progress;
  int64_t total = 0, done = 0;

  Result<void> step() {
    progress.report("bench", ++done, total);
    if (progress.stop_requested()) return tl::unexpected(Error{ErrorKind::cancelled, "bench: stopped"});
    return {};
  }

  Result<BenchResult> run(int threads) {
    RuntimeOptions runtime;
    runtime.threads = threads;
    BenchResult result;
    result.threads = threads;
    LISSOM_TRY(const Target target, active_target());
    result.target = target_name(target);
    result.prompt = options.prompt;
    if (options.probe) {
      LISSOM_TRY(result.peak, probe(target, threads));
    }
    forget_peak_memory();
    const auto begin = Clock::now();
    LISSOM_TRY(auto model, Model::load(checkpoint, runtime));
    result.load_seconds = seconds_since(begin);
    // An encoder does not generate.
    result.generate = model->config().causal ? options.generate : 0;
    const int64_t longest = std::max(result.prompt, result.generate);
    if (longest == 0) return bad_input("bench: an encoder has a prompt only");
    LISSOM_TRY(auto session, Session::create(model, longest));
    const auto ids = arbitrary_tokens(longest, checkpoint.config.vocab);
    const auto first = [&](int64_t n) { return std::span(ids).first(static_cast<size_t>(n)); };
    // One run of each goes before the timed ones: it takes the memory and wakes the processor.
    std::vector<double> prompt, generate;
    for (int i = 0; i <= options.repeats; ++i) {
      if (result.prompt > 0) {
        LISSOM_TRY(const double speed, time_prompt(*session, first(result.prompt)));
        prompt.push_back(speed);
      }
      if (result.generate > 0) {
        LISSOM_TRY(const double speed, time_generation(*session, first(result.generate)));
        generate.push_back(speed);
      }
      LISSOM_CHECK(step());
    }
    if (!prompt.empty()) result.prompt_tokens_per_second = median({prompt.begin() + 1, prompt.end()});
    if (!generate.empty()) result.generate_tokens_per_second = median({generate.begin() + 1, generate.end()});
    result.peak_rss = peak_memory();
    LISSOM_CHECK(account(*model, result));
    return result;
  }
};

}  // namespace

double share_of_peak(const BenchResult& result) {
  double seconds = 0;  // of a token, at the peaks
  for (const auto& [ops, rate] : {std::pair(result.prompt_int8_ops, result.peak.int8_ops_per_second),
                                  std::pair(result.prompt_bf16_ops, result.peak.bf16_ops_per_second),
                                  std::pair(result.prompt_f32_ops, result.peak.f32_ops_per_second)}) {
    if (ops > 0 && rate <= 0) return 0;
    if (ops > 0) seconds += ops / rate;
  }
  return seconds * result.prompt_tokens_per_second;
}

Result<std::vector<BenchResult>> bench(const Checkpoint& model, const BenchOptions& options,
                                       const Progress& progress) {
  constexpr int64_t kLongest = 1 << 24;
  if (options.prompt < 0 || options.generate < 0 || std::max(options.prompt, options.generate) == 0 ||
      std::max(options.prompt, options.generate) > kLongest)
    return bad_input("bench: prompt and generation must have 0 … 2^24 tokens, not both 0");
  if (options.repeats < 1 || options.repeats > 1000) return bad_input("bench: repeats must be in 1 … 1000");
  if (options.threads.empty()) return bad_input("bench: no thread count");
  if (model.config.vocab < 1) return bad_input("bench: the model has no vocabulary");
  Job job{model, options, progress, static_cast<int64_t>(options.threads.size()) * (options.repeats + 1)};
  std::vector<BenchResult> results;
  for (const int threads : options.threads) {
    LISSOM_TRY(BenchResult result, job.run(threads));
    results.push_back(result);
  }
  return results;
}

}  // namespace lissom
