#include "data/calibration.h"

#include <algorithm>
#include <string>

#include "data/windows.h"

namespace lissom {
namespace {

constexpr int64_t kAtOnce = 16;  ///< sequences of a batch: one pass over the weights gives a token of each

/// SplitMix64: every sequence's seed, and the start tokens.
struct Seeds {
  uint64_t state;
  uint64_t next() {
    uint64_t z = (state += 0x9E3779B97F4A7C15U);
    z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27U)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31U);
  }
};

struct Sequence {
  std::vector<int32_t> tokens;
  size_t read = 0;  ///< how many of them the model has seen
  bool done = false;
  Sampler sampler{SamplingOptions{}};
};

class Writer {
 public:
  Writer(const Model& model, const Tokenizer& tokenizer, Session& session, uint64_t seed)
      : vocab_(std::min(model.config().vocab, tokenizer.vocab_size())),
        rows_(model.config().vocab),
        session_(session),
        seeds_{seed} {
    if (const auto leading = leading_token(tokenizer)) {
      first_ = *leading;
    } else if (model.config().bos >= 0 && model.config().bos < vocab_) {
      first_ = static_cast<int32_t>(model.config().bos);
    } else if (!model.config().eos.empty() && model.config().eos[0] >= 0 && model.config().eos[0] < vocab_) {
      first_ = static_cast<int32_t>(model.config().eos[0]);
    }
    for (int32_t id = 0; id < vocab_; ++id) {
      (tokenizer.is_special(id) ? special_ : plain_).push_back(id);
    }
  }
  [[nodiscard]] bool has_vocabulary() const { return !plain_.empty(); }

  Sequence start(bool varied) {
    Sequence s;
    s.sampler = Sampler({.temperature = 1.0F, .top_k = 0, .top_p = 0.95F, .min_p = 0, .seed = seeds_.next()});
    if (first_ >= 0) s.tokens.push_back(first_);
    if (varied || first_ < 0) s.tokens.push_back(plain_[seeds_.next() % plain_.size()]);
    return s;
  }

  /// One more token for every sequence that is not done.
  Result<void> step(std::vector<Sequence>& all, size_t length) {
    std::vector<int32_t> tokens, positions, ids;
    std::vector<uint8_t> wanted;
    for (size_t i = 0; i < all.size(); ++i) {
      if (all[i].done) continue;
      for (; all[i].read < all[i].tokens.size(); ++all[i].read) {
        tokens.push_back(all[i].tokens[all[i].read]);
        positions.push_back(static_cast<int32_t>(all[i].read));
        ids.push_back(static_cast<int32_t>(i));
        wanted.push_back(all[i].read + 1 == all[i].tokens.size() ? 1 : 0);
      }
    }
    LISSOM_TRY(
        const std::span<const float> logits,
        session_.run(
            {.tokens = tokens, .positions = positions, .sequences = ids, .wanted = wanted, .token_types = {}}));
    size_t row = 0;
    for (Sequence& s : all) {
      if (s.done) continue;
      const auto width = static_cast<size_t>(rows_);
      draw(s, logits.subspan(row++ * width, width));
      if (s.tokens.size() >= length) s.done = true;
    }
    return {};
  }

 private:
  void draw(Sequence& s, std::span<const float> logits) {
    row_.assign(logits.begin(), logits.begin() + vocab_);
    // An end of text is kept as a reason to stop, other control tokens are not text at all.
    float floor = row_[0];
    for (const float v : row_) floor = std::min(floor, v);
    for (const int32_t id : special_) row_[static_cast<size_t>(id)] = floor - 100.0F;
    s.tokens.push_back(s.sampler.sample(row_));
  }

  int64_t vocab_, rows_;
  Session& session_;
  Seeds seeds_;
  int32_t first_ = -1;
  std::vector<int32_t> plain_, special_;
  std::vector<float> row_;
};

}  // namespace

Result<std::vector<std::vector<int32_t>>> sample_calibration_tokens(const std::shared_ptr<Model>& model,
                                                                    const Tokenizer& tokenizer, int64_t tokens,
                                                                    uint64_t seed, const Progress& progress,
                                                                    int64_t length) {
  const Config& config = model->config();
  if (tokens < 1 || length < 4) {
    return bad_input("calibration needs at least one token, in sequences of at least four: asked for " +
                     std::to_string(tokens) + " in sequences of " + std::to_string(length));
  }
  if (!config.causal || model->graph().logits < 0 || !config.labels.empty()) {
    return unsupported("a model of architecture " + config.arch +
                       " cannot write its own calibration text: give one with --calib");
  }
  if (config.context > 0) length = std::min(length, config.context);
  const int64_t at_once = std::min<int64_t>(kAtOnce, (tokens + length - 1) / length);
  LISSOM_TRY(const std::unique_ptr<Session> session, Session::create(model, length * at_once, at_once));
  Writer writer(*model, tokenizer, *session, seed);
  if (!writer.has_vocabulary()) return bad_input("the vocabulary has nothing but control tokens");

  std::vector<std::vector<int32_t>> texts;
  int64_t have = 0;
  while (have < tokens) {
    session->clear();
    std::vector<Sequence> batch;
    for (int64_t i = 0; i < at_once; ++i) batch.push_back(writer.start(i % 2 == 1));
    while (std::ranges::any_of(batch, [](const Sequence& s) { return !s.done; })) {
      if (progress.stop_requested()) return tl::unexpected(Error{ErrorKind::cancelled, "stopped on request"});
      LISSOM_CHECK(writer.step(batch, static_cast<size_t>(length)));
      int64_t written = have;
      for (const Sequence& s : batch) written += static_cast<int64_t>(s.tokens.size());
      progress.report("calibration text", std::min(written, tokens), tokens);
    }
    for (Sequence& s : batch) {
      const int64_t left = tokens - have;
      if (left <= 0) break;
      if (static_cast<int64_t>(s.tokens.size()) > left) s.tokens.resize(static_cast<size_t>(left));
      have += static_cast<int64_t>(s.tokens.size());
      texts.push_back(std::move(s.tokens));
    }
  }
  return texts;
}

Result<std::string> sample_calibration_text(const std::shared_ptr<Model>& model, const Tokenizer& tokenizer,
                                            int64_t tokens, uint64_t seed, const Progress& progress) {
  LISSOM_TRY(const auto texts, sample_calibration_tokens(model, tokenizer, tokens, seed, progress));
  std::string all;
  for (const std::vector<int32_t>& text : texts) {
    if (!all.empty()) all += "\n\n";
    all += tokenizer.decode(text, true);
  }
  return all;
}

}  // namespace lissom
