#include <algorithm>
#include <chrono>
#include <numeric>
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

/// Tokens per second of as many prompts at once as there are sequences.
Result<double> time_prompt(Session& session, std::span<const int32_t> ids, int64_t sequences, bool causal) {
  session.clear();
  if (sequences == 1) {
    const auto begin = Clock::now();
    LISSOM_TRY([[maybe_unused]] const auto logits, read_prompt(session, ids));
    return static_cast<double>(ids.size()) / seconds_since(begin);
  }
  std::vector<int32_t> tokens, of;
  std::vector<uint8_t> wanted;
  for (int64_t s = 0; s < sequences; ++s) {
    tokens.insert(tokens.end(), ids.begin(), ids.end());
    of.insert(of.end(), ids.size(), static_cast<int32_t>(s));
    wanted.insert(wanted.end(), ids.size(), 0);
    wanted.back() = 1;
  }
  Batch batch;
  batch.tokens = tokens;
  batch.sequences = of;
  if (causal) batch.wanted = wanted;
  const auto begin = Clock::now();
  LISSOM_TRY([[maybe_unused]] const auto logits, session.run(batch));
  return static_cast<double>(tokens.size()) / seconds_since(begin);
}

/// `ids` into each of the session's sequences.
Result<void> fill(Session& session, std::span<const int32_t> ids, int64_t sequences) {
  constexpr size_t kAtOnce = 512;
  for (int64_t s = 0; s < sequences; ++s) {
    for (auto rest = ids; !rest.empty(); rest = rest.subspan(std::min(kAtOnce, rest.size()))) {
      const auto now = rest.first(std::min(kAtOnce, rest.size()));
      const std::vector<int32_t> sequence(now.size(), static_cast<int32_t>(s));
      const std::vector<uint8_t> wanted(now.size(), 0);
      Batch batch;
      batch.tokens = now;
      batch.sequences = sequence;
      batch.wanted = wanted;
      LISSOM_TRY([[maybe_unused]] const auto none, session.run(batch));
    }
  }
  return {};
}

/// Tokens per second of all sequences, each after options.depth others.
Result<double> time_generation(Session& session, std::span<const int32_t> ids, const BenchOptions& options) {
  session.clear();
  LISSOM_CHECK(fill(session, ids.first(static_cast<size_t>(options.depth)), options.sequences));
  std::vector<int32_t> sequences(static_cast<size_t>(options.sequences)), tokens(sequences.size());
  std::iota(sequences.begin(), sequences.end(), 0);
  const auto begin = Clock::now();
  for (const int32_t id : ids.first(static_cast<size_t>(options.generate))) {
    std::ranges::fill(tokens, id);
    Batch batch;
    batch.tokens = tokens;
    batch.sequences = sequences;
    LISSOM_TRY([[maybe_unused]] const auto logits, session.run(batch));
  }
  return static_cast<double>(options.generate * options.sequences) / seconds_since(begin);
}

Result<MachinePeak> probe(Target target, int threads) {
  ThreadPool pool(threads);
  LISSOM_TRY(const kernels::MachineLimits found, kernels::probe_machine(target, pool));
  return MachinePeak{found.read_bytes_per_second, found.int8_ops_per_second, found.bf16_ops_per_second,
                     found.f32_ops_per_second};
}

/// What the tokens cost, and how near to the machine's peaks that was.
Result<void> account(const Model& model, const BenchOptions& options, BenchResult& result) {
  if (result.prompt > 0) {
    LISSOM_TRY(const runtime::Work work, runtime::work_of_prompt(model, result.prompt));
    const auto tokens = static_cast<double>(result.prompt);
    result.prompt_int8_ops = static_cast<double>(work.int8_ops) / tokens;
    result.prompt_bf16_ops = static_cast<double>(work.bf16_ops) / tokens;
    result.prompt_f32_ops = static_cast<double>(work.f32_ops) / tokens;
    result.prompt_share = share_of_peak(result);
  }
  if (result.generate > 0) {
    LISSOM_TRY(const runtime::Work work, runtime::work_of(model, options.sequences, options.sequences));
    LISSOM_TRY(const int64_t before, runtime::cache_bytes_of_generation(model, options.depth));
    LISSOM_TRY(const int64_t cache, runtime::cache_bytes_of_generation(model, options.depth + result.generate));
    result.generate_bytes = static_cast<double>(work.weight_bytes) / static_cast<double>(options.sequences) +
                            static_cast<double>(cache - before) / static_cast<double>(result.generate);
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
    if (std::max(result.prompt, result.generate) == 0) return bad_input("bench: an encoder has a prompt only");
    const bool generates = result.generate > 0;
    const int64_t positions = std::max(result.prompt, generates ? options.depth + result.generate : 0);
    LISSOM_TRY(auto session, Session::create(model, positions * options.sequences, options.sequences));
    const auto ids = arbitrary_tokens(positions, checkpoint.config.vocab);
    const auto first = [&](int64_t n) { return std::span(ids).first(static_cast<size_t>(n)); };
    // One run of each goes before the timed ones: it takes the memory and wakes the processor.
    std::vector<double> prompt, generate;
    for (int i = 0; i <= options.repeats; ++i) {
      if (result.prompt > 0) {
        LISSOM_TRY(const double speed,
                   time_prompt(*session, first(result.prompt), options.sequences, model->config().causal));
        prompt.push_back(speed);
      }
      if (result.generate > 0) {
        LISSOM_TRY(const double speed, time_generation(*session, ids, options));
        generate.push_back(speed);
      }
      LISSOM_CHECK(step());
    }
    if (!prompt.empty()) result.prompt_tokens_per_second = median({prompt.begin() + 1, prompt.end()});
    if (!generate.empty()) result.generate_tokens_per_second = median({generate.begin() + 1, generate.end()});
    result.peak_rss = peak_memory();
    LISSOM_CHECK(account(*model, options, result));
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
  if (options.depth < 0 || options.depth > kLongest) return bad_input("bench: the depth must be in 0 … 2^24");
  if (options.sequences < 1 || options.sequences > 4096)
    return bad_input("bench: sequences must be in 1 … 4096");
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
