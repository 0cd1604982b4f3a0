#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <optional>

#include "base/threads.h"
#include "data/windows.h"
#include "eval/passes.h"
#include "eval/peak_memory.h"
#include "eval/rows.h"
#include "eval/statistics.h"
#include "eval/vocabularies.h"
#include "lissom/eval.h"
#include "lissom/gguf.h"

namespace lissom {
namespace {

Result<void> check_decoder(const Checkpoint& model) {
  if (model.config.causal && model.graph.logits >= 0 && model.config.labels.empty()) return {};
  return unsupported(model.path.string() + ": a model of architecture " + model.config.arch +
                     " predicts no next token, so it has no perplexity: eval needs a decoder");
}

/// One of the two models at work.
struct Runner {
  std::shared_ptr<Model> model;
  std::unique_ptr<Session> session;
  double seconds = 0;
  int64_t tokens = 0;

  Result<std::span<const float>> run(const Batch& batch) {
    const auto start = std::chrono::steady_clock::now();
    auto logits = session->run(batch);
    seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    tokens += static_cast<int64_t>(batch.tokens.size());
    return logits;
  }
};

Result<Runner> start(const Checkpoint& checkpoint, const RuntimeOptions& options, int64_t context,
                     int64_t at_once) {
  Runner runner;
  LISSOM_TRY(runner.model, Model::load(checkpoint, options));
  LISSOM_TRY(runner.session, Session::create(runner.model, context * at_once, at_once));
  return runner;
}

/// Positions [first, last) of each of some windows side by side.
struct Slice {
  std::vector<int32_t> tokens, positions, sequences;
  std::vector<uint8_t> wanted;

  Slice(const std::vector<std::vector<int32_t>>& inputs, int64_t first, int64_t last, bool with_logits) {
    for (size_t s = 0; s < inputs.size(); ++s) {
      for (int64_t p = first; p < last; ++p) {
        tokens.push_back(inputs[s][static_cast<size_t>(p)]);
        positions.push_back(static_cast<int32_t>(p));
        sequences.push_back(static_cast<int32_t>(s));
      }
    }
    wanted.assign(tokens.size(), with_logits ? 1 : 0);
  }
  [[nodiscard]] Batch batch() const {
    return {
        .tokens = tokens, .positions = positions, .sequences = sequences, .wanted = wanted, .token_types = {}};
  }
};

class Evaluation {
 public:
  Evaluation(Windows windows, Runner model, std::optional<Runner> base, Target target, int threads)
      : windows_(std::move(windows)),
        model_(std::move(model)),
        base_(std::move(base)),
        target_(target),
        pool_(threads),
        vocab_(model_.model->config().vocab) {
    const auto scored = static_cast<size_t>(windows_.count * windows_.scored());
    scores_.nll.reserve(scored);
    if (base_) scores_.nll_base.reserve(scored);
    if (base_) scores_.kld.reserve(scored);
  }

  Result<void> windows(int64_t first, int64_t count) {
    std::vector<std::vector<int32_t>> inputs(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) {
      inputs[static_cast<size_t>(i)].resize(static_cast<size_t>(windows_.context));
      windows_.input(first + i, inputs[static_cast<size_t>(i)]);
    }
    model_.session->clear();
    if (base_) base_->session->clear();
    // Scores come slice by slice; they are put down window by window.
    pending_.assign(static_cast<size_t>(count * windows_.scored()), {});
    const int64_t begin = windows_.first_scored(), end = windows_.context - 1;
    LISSOM_CHECK(context(Slice(inputs, 0, begin, false)));
    const int64_t row_bytes = vocab_ * static_cast<int64_t>(sizeof(float)) * count;
    const int64_t rows = std::max<int64_t>(1, kLogitBytes / row_bytes);
    for (int64_t at = begin; at < end; at += rows) {
      const int64_t stop = std::min(end, at + rows);
      LISSOM_CHECK(slice(Slice(inputs, at, stop, true), first, at, stop));
    }
    for (const RowScore& score : pending_) {
      scores_.nll.push_back(score.nll);
      if (!base_) continue;
      scores_.nll_base.push_back(score.nll_base);
      scores_.kld.push_back(score.kld);
      scores_.same_top += score.top == score.top_base ? 1 : 0;
    }
    return {};
  }

  [[nodiscard]] const Windows& text() const { return windows_; }
  [[nodiscard]] const TokenScores& scores() const { return scores_; }
  [[nodiscard]] double tokens_per_second() const {
    return model_.seconds > 0 ? static_cast<double>(model_.tokens) / model_.seconds : 0;
  }

 private:
  /// The first half of the windows: read, not scored.
  Result<void> context(const Slice& slice) {
    LISSOM_CHECK(model_.run(slice.batch()));
    if (base_) {
      LISSOM_CHECK(base_->run(slice.batch()));
    }
    return {};
  }

  Result<void> slice(const Slice& slice, int64_t first_window, int64_t first, int64_t last) {
    LISSOM_TRY(const std::span<const float> logits, model_.run(slice.batch()));
    std::span<const float> base;
    if (base_) {
      LISSOM_TRY(base, base_->run(slice.batch()));
    }
    const int64_t length = last - first, scored = windows_.scored();
    const auto rows = static_cast<int64_t>(slice.tokens.size());
    pool_.parallel_for(rows, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t row = begin; row < end; ++row) {
        const int64_t window = row / length, position = first + row % length;
        const int32_t token = windows_.target(first_window + window, position);
        const float* ours = logits.data() + row * vocab_;
        pending_[static_cast<size_t>(window * scored + position - windows_.first_scored())] =
            base_ ? score_rows(target_, ours, base.data() + row * vocab_, vocab_, token)
                  : score_row(target_, ours, vocab_, token);
      }
    });
    const auto broken = std::ranges::find(pending_, false, &RowScore::finite);
    if (broken == pending_.end()) return {};
    return bad_input("the logits of window " +
                     std::to_string(first_window + (broken - pending_.begin()) / scored + 1) +
                     " are not finite: a model is broken");
  }

  Windows windows_;
  Runner model_;
  std::optional<Runner> base_;
  Target target_;
  ThreadPool pool_;
  int64_t vocab_;
  TokenScores scores_;
  std::vector<RowScore> pending_;
};

}  // namespace

Result<EvalResult> evaluate(const Checkpoint& model, const Checkpoint* base, std::string_view text,
                            const EvalOptions& options, const Progress& progress) {
  LISSOM_CHECK(check_decoder(model));
  if (base != nullptr) {
    LISSOM_CHECK(check_decoder(*base));
    LISSOM_CHECK(check_vocabularies(model, *base));
  }
  if (!model.metadata) return bad_input(model.path.string() + ": no tokenizer");
  LISSOM_TRY(const auto tokenizer, Tokenizer::from_gguf(*model.metadata, model.path.string()));
  LISSOM_TRY(Windows windows, cut_windows(*tokenizer, text, options.context, options.chunks));
  for (const int32_t token : windows.tokens) {
    if (token >= 0 && token < model.config.vocab) continue;
    return bad_input(model.path.string() + ": the tokenizer gives token " + std::to_string(token) +
                     ", but the model knows " + std::to_string(model.config.vocab));
  }
  if (model.config.context > 0 && options.context > model.config.context) {
    progress.say(LogLevel::warning, model.path.string() + ": windows of " + std::to_string(options.context) +
                                        " tokens are longer than the model's context of " +
                                        std::to_string(model.config.context));
  }
  if (windows.count < options.chunks) {
    progress.say(LogLevel::warning, "the text has only " + std::to_string(windows.count) + " windows");
  }
  LISSOM_TRY(const Target target, active_target());
  const int64_t at_once = windows_at_once(windows.context, windows.count);
  LISSOM_TRY(Runner ours, start(model, options.runtime, windows.context, at_once));
  std::optional<Runner> theirs;
  if (base != nullptr) {
    RuntimeOptions runtime = options.runtime;
    runtime.exact = runtime.exact || options.exact_base;
    LISSOM_TRY(theirs, start(*base, runtime, windows.context, at_once));
  }

  Evaluation evaluation(std::move(windows), std::move(ours), std::move(theirs), target,
                        options.runtime.threads);
  const int64_t count = evaluation.text().count;
  double nll = 0;
  for (int64_t first = 0; first < count; first += at_once) {
    if (progress.stop_requested()) return tl::unexpected(Error{ErrorKind::cancelled, "stopped on request"});
    const size_t before = evaluation.scores().nll.size();
    LISSOM_CHECK(evaluation.windows(first, std::min(at_once, count - first)));
    const std::vector<double>& all = evaluation.scores().nll;
    for (size_t i = before; i < all.size(); ++i) nll += all[i];
    char detail[40];
    std::snprintf(detail, sizeof detail, "perplexity %.4f", std::exp(nll / static_cast<double>(all.size())));
    progress.report("evaluate", std::min(first + at_once, count), count, detail);
  }
  EvalResult result = summarize(evaluation.scores());
  result.chunks = count;
  result.tokens_per_second = evaluation.tokens_per_second();
  result.peak_rss = peak_memory();
  return result;
}

}  // namespace lissom
