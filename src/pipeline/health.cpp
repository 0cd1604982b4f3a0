#include "pipeline/health.h"

#include <algorithm>
#include <set>

namespace lissom {
namespace {

constexpr size_t kEarly = 8, kGram = 4, kWord = 4;

struct Continuation {
  std::vector<int32_t> tokens;
  Sampler sampler;
  bool ended = false;
};

}  // namespace

double repeated_share(std::span<const int32_t> tokens, size_t n) {
  if (tokens.size() < n || n == 0) return 0;
  std::set<std::vector<int32_t>> seen;
  size_t repeated = 0;
  const size_t grams = tokens.size() - n + 1;
  for (size_t i = 0; i < grams; ++i)
    repeated += seen.insert({tokens.begin() + static_cast<ptrdiff_t>(i),
                             tokens.begin() + static_cast<ptrdiff_t>(i + n)})
                        .second
                    ? 0
                    : 1;
  return static_cast<double>(repeated) / static_cast<double>(grams);
}

bool goes_round(std::span<const int32_t> tokens, size_t period) {
  const auto half = tokens.last(tokens.size() / 2);
  for (size_t p = 1; p <= period && 3 * p <= half.size(); ++p)
    if (std::ranges::equal(half.subspan(p), half.first(half.size() - p))) return true;
  return false;
}

Result<Health> check_health(const std::shared_ptr<Model>& model, std::span<const std::vector<int32_t>> prompts,
                            int64_t tokens, uint64_t seed, float temperature) {
  Health health;
  if (prompts.empty()) return health;
  size_t length = 0;
  for (const auto& prompt : prompts) length = std::max(length, prompt.size());
  const auto count = static_cast<int64_t>(prompts.size());
  LISSOM_TRY(const auto session,
             Session::create(model, (static_cast<int64_t>(length) + tokens + 1) * count, count));
  std::vector<Continuation> runs;
  for (size_t i = 0; i < prompts.size(); ++i) {
    SamplingOptions sampling;
    sampling.seed = seed + i;
    sampling.temperature = temperature;
    runs.push_back({{}, Sampler(sampling), false});
  }
  std::vector<int32_t> batch_tokens, sequences;
  std::vector<uint8_t> wanted;
  std::vector<size_t> live;
  for (size_t i = 0; i < prompts.size(); ++i) {
    batch_tokens.insert(batch_tokens.end(), prompts[i].begin(), prompts[i].end());
    sequences.insert(sequences.end(), prompts[i].size(), static_cast<int32_t>(i));
    wanted.insert(wanted.end(), prompts[i].size() - 1, 0);
    wanted.push_back(1);
    live.push_back(i);
  }
  const std::vector<int64_t>& ends = model->config().eos;
  for (int64_t step = 0; step < tokens && !live.empty(); ++step) {
    Batch batch;
    batch.tokens = batch_tokens;
    batch.sequences = sequences;
    batch.wanted = wanted;
    LISSOM_TRY(const std::span<const float> logits, session->run(batch));
    const size_t vocab = logits.size() / live.size();
    batch_tokens.clear();
    sequences.clear();
    std::vector<size_t> going;
    for (size_t row = 0; row < live.size(); ++row) {
      Continuation& run = runs[live[row]];
      const int32_t token = run.sampler.sample(logits.subspan(row * vocab, vocab));
      // A model without a number to choose by has nothing to say.
      run.ended = token < 0 || std::ranges::find(ends, token) != ends.end();
      if (run.ended) continue;
      run.sampler.accept(token);
      run.tokens.push_back(token);
      batch_tokens.push_back(token);
      sequences.push_back(static_cast<int32_t>(live[row]));
      going.push_back(live[row]);
    }
    live = std::move(going);
    wanted.assign(live.size(), 1);
  }
  for (Continuation& run : runs) {
    health.repetition += repeated_share(run.tokens, kGram) / static_cast<double>(runs.size());
    health.early_stop += run.ended && run.tokens.size() < kEarly ? 1.0 / static_cast<double>(runs.size()) : 0.0;
    health.one_word += goes_round(run.tokens, kWord) ? 1.0 / static_cast<double>(runs.size()) : 0.0;
    health.tokens += static_cast<int64_t>(run.tokens.size());
    health.texts.push_back(std::move(run.tokens));
  }
  return health;
}

}  // namespace lissom
