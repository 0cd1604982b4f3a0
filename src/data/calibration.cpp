#include "data/calibration.h"

#include <algorithm>
#include <limits>
#include <string>

#include "base/threads.h"
#include "data/windows.h"

namespace lissom {
namespace {

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
  std::vector<float> row;  ///< its logits, while one is drawn
};

class Writer {
 public:
  Writer(const Model& model, const Tokenizer& tokenizer, Session& session, const OwnText& wanted)
      : vocab_(std::min(model.config().vocab, tokenizer.vocab_size())),
        rows_(model.config().vocab),
        session_(session),
        seeds_{wanted.seed},
        pool_(wanted.threads) {
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
    s.sampler = Sampler(
        {.temperature = 1.0F, .top_k = kSampledLikeliest, .top_p = 0.95F, .min_p = 0, .seed = seeds_.next()});
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
    std::vector<Sequence*> live;
    for (Sequence& s : all)
      if (!s.done) live.push_back(&s);
    const auto width = static_cast<size_t>(rows_);
    pool_.parallel_for(static_cast<int64_t>(live.size()), 1, [&](int64_t begin, int64_t end, int) {
      for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
        draw(*live[i], logits.subspan(i * width, width));
        live[i]->done = live[i]->tokens.size() >= length;
      }
    });
    return {};
  }

 private:
  void draw(Sequence& s, std::span<const float> logits) const {
    s.row.assign(logits.begin(), logits.begin() + vocab_);
    // Control tokens are not text.
    for (const int32_t id : special_) s.row[static_cast<size_t>(id)] = -std::numeric_limits<float>::infinity();
    s.tokens.push_back(s.sampler.sample(s.row));
  }

  int64_t vocab_, rows_;
  Session& session_;
  Seeds seeds_;
  int32_t first_ = -1;
  std::vector<int32_t> plain_, special_;
  ThreadPool pool_;
};

}  // namespace

Result<std::vector<std::vector<int32_t>>> sample_calibration_tokens(const std::shared_ptr<Model>& model,
                                                                    const Tokenizer& tokenizer,
                                                                    const OwnText& wanted,
                                                                    const Progress& progress) {
  const int64_t tokens = wanted.tokens;
  int64_t length = wanted.length;
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
  const int64_t at_once = std::min<int64_t>(kSampledAtOnce, (tokens + length - 1) / length);
  LISSOM_TRY(const std::unique_ptr<Session> session, Session::create(model, length * at_once, at_once));
  Writer writer(*model, tokenizer, *session, wanted);
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
                                            const OwnText& wanted, const Progress& progress) {
  LISSOM_TRY(const auto texts, sample_calibration_tokens(model, tokenizer, wanted, progress));
  std::string all;
  for (const std::vector<int32_t>& text : texts) {
    if (!all.empty()) all += "\n\n";
    all += tokenizer.decode(text, true);
  }
  return all;
}

}  // namespace lissom
