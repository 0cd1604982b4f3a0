#include <sys/resource.h>

#include <algorithm>
#include <chrono>

#include "base/cpu.h"
#include "lissom/eval.h"

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

uint64_t peak_rss() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss) * 1024;
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
    result.peak_rss = peak_rss();
    return result;
  }
};

}  // namespace

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
