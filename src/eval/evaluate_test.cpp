#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "data/windows.h"
#include "lissom/eval.h"
#include "lissom/gguf.h"
#include "support/temp_folder.h"
#include "support/tiny_llama.h"

namespace lissom {
namespace {

std::string sample_text() {
  std::string text;
  for (int i = 0; i < 60; ++i) text += "the " + std::to_string(i * i) + " times, ";
  return text;
}

class Evaluate : public ::testing::Test {
 protected:
  Checkpoint make(const std::string& name, const testing::TinyLlama& options = {}) {
    return testing::tiny_llama(folder_ / name, options);
  }
  static EvalOptions options(int64_t context, int64_t chunks, int threads = 1) {
    EvalOptions o;
    o.context = context;
    o.chunks = chunks;
    o.runtime.threads = threads;
    o.runtime.exact = true;
    return o;
  }
  testing::TempFolder folder_;
};

struct Reference {
  long double nll = 0, nll_base = 0, kld = 0, largest = 0;
  int64_t tokens = 0, same = 0;
};

/// One window at a time, every row at once, sums in long double.
Reference reference(const Checkpoint& model, const Checkpoint& base, const std::string& text,
                    const EvalOptions& o) {
  const auto tokenizer = Tokenizer::from_gguf(*model.metadata, "tiny").value();
  const Windows windows = cut_windows(*tokenizer, text, o.context, o.chunks).value();
  const auto a = Session::create(Model::load(model, o.runtime).value(), o.context).value();
  const auto b = Session::create(Model::load(base, o.runtime).value(), o.context).value();
  const auto vocab = static_cast<size_t>(model.config.vocab);
  std::vector<int32_t> input(static_cast<size_t>(o.context));
  Reference r;
  for (int64_t w = 0; w < windows.count; ++w) {
    windows.input(w, input);
    a->clear();
    b->clear();
    const auto la = a->run({.tokens = input}).value(), lb = b->run({.tokens = input}).value();
    for (int64_t p = o.context / 2; p < o.context - 1; ++p) {
      const auto x = la.subspan(static_cast<size_t>(p) * vocab, vocab);
      const auto y = lb.subspan(static_cast<size_t>(p) * vocab, vocab);
      long double sx = 0, sy = 0, kld = 0;
      for (size_t i = 0; i < vocab; ++i) sx += std::exp(static_cast<long double>(x[i]));
      for (size_t i = 0; i < vocab; ++i) sy += std::exp(static_cast<long double>(y[i]));
      for (size_t i = 0; i < vocab; ++i)
        kld += std::exp(y[i] - std::log(sy)) * (y[i] - std::log(sy) - x[i] + std::log(sx));
      const auto next = static_cast<size_t>(windows.tokens[static_cast<size_t>(w * o.context + p + 1)]);
      r.nll += std::log(sx) - x[next];
      r.nll_base += std::log(sy) - y[next];
      r.kld += kld;
      r.largest = std::max(r.largest, kld);
      r.same += std::ranges::max_element(x) - x.begin() == std::ranges::max_element(y) - y.begin() ? 1 : 0;
      ++r.tokens;
    }
  }
  return r;
}

TEST_F(Evaluate, AgreesWithOneWindowAtATimeInLongDouble) {
  const Checkpoint base = make("base.gguf"), model = make("model.gguf", {.noise = 0.2F});
  const std::string text = sample_text();
  // Contexts below and above what one pass takes in; even and odd.
  for (const int64_t context : {4, 17, 64, 128}) {
    const EvalOptions o = options(context, 5);
    const Reference expected = reference(model, base, text, o);
    const auto n = static_cast<double>(expected.tokens);
    const EvalResult r = evaluate(model, &base, text, o, {}).value();
    EXPECT_EQ(r.chunks, 5);
    EXPECT_EQ(r.tokens, expected.tokens);
    EXPECT_NEAR(std::log(r.ppl.value), static_cast<double>(expected.nll) / n, 1e-5);
    EXPECT_NEAR(std::log(r.ppl_base.value), static_cast<double>(expected.nll_base) / n, 1e-5);
    EXPECT_NEAR(r.ln_ppl_ratio.value, static_cast<double>(expected.nll - expected.nll_base) / n, 1e-5);
    const double kld = static_cast<double>(expected.kld) / n;
    EXPECT_GT(kld, 1e-4);
    EXPECT_NEAR(r.kld_mean.value, kld, 1e-6 + 1e-3 * kld);
    EXPECT_NEAR(r.kld_max, static_cast<double>(expected.largest), 1e-6 + 1e-3 * r.kld_max);
    EXPECT_DOUBLE_EQ(r.same_top.value, static_cast<double>(expected.same) / n);
    EXPECT_GT(r.tokens_per_second, 0);
    EXPECT_GT(r.peak_rss, 0U);
  }
}

TEST_F(Evaluate, AModelIsNoFurtherThanItself) {
  const Checkpoint model = make("model.gguf");
  const EvalResult r = evaluate(model, &model, sample_text(), options(32, 0), {}).value();
  EXPECT_EQ(r.kld_max, 0);
  EXPECT_EQ(r.same_top.value, 1);
  EXPECT_EQ(r.ln_ppl_ratio.value, 0);
  EXPECT_EQ(r.ppl.value, r.ppl_base.value);
  const EvalResult alone = evaluate(model, nullptr, sample_text(), options(32, 0), {}).value();
  EXPECT_FALSE(alone.has_base);
  EXPECT_EQ(alone.ppl.value, r.ppl.value);
  EXPECT_EQ(alone.ppl.error, r.ppl.error);
}

TEST_F(Evaluate, ExactBaseShowsWhatFastArithmeticCosts) {
  const Checkpoint model = make("model.gguf");
  EvalOptions o = options(32, 0);
  o.runtime.exact = false;
  o.runtime.cache = CacheType::q8_0;  // coarse enough to be seen
  EXPECT_EQ(evaluate(model, &model, sample_text(), o, {})->kld_max, 0);
  o.exact_base = true;
  const EvalResult r = evaluate(model, &model, sample_text(), o, {}).value();
  EXPECT_GT(r.kld_mean.value, 0);
  EXPECT_LT(r.kld_mean.value, 0.05);
}

TEST_F(Evaluate, SameBitsForAnyNumberOfThreads) {
  const Checkpoint base = make("base.gguf"), model = make("model.gguf", {.noise = 0.1F});
  const EvalResult one = evaluate(model, &base, sample_text(), options(32, 0, 1), {}).value();
  for (const int threads : {2, 3}) {
    const EvalResult r = evaluate(model, &base, sample_text(), options(32, 0, threads), {}).value();
    EXPECT_EQ(r.ppl.value, one.ppl.value);
    EXPECT_EQ(r.ppl_base.error, one.ppl_base.error);
    EXPECT_EQ(r.kld_mean.value, one.kld_mean.value);
    EXPECT_EQ(r.kld_p99, one.kld_p99);
    EXPECT_EQ(r.kld_max_error, one.kld_max_error);
  }
}

TEST_F(Evaluate, SaysWhatCannotBeMeasured) {
  const Checkpoint model = make("model.gguf");
  const auto error = [&](const Checkpoint& m, const Checkpoint* base, std::string_view text) {
    const auto result = evaluate(m, base, text, options(32, 0), {});
    return result ? std::string("no error") : result.error().message;
  };
  EXPECT_NE(error(model, nullptr, "short").find("5 tokens"), std::string::npos);
  const Checkpoint larger = make("larger.gguf", {.extra_tokens = 3});
  EXPECT_NE(error(larger, &model, sample_text()).find("261 and 258"), std::string::npos);
  const Checkpoint other = make("other.gguf", {.first = "zzz"});
  EXPECT_NE(error(other, &model, sample_text()).find("token 0 is not the same"), std::string::npos);
  const Checkpoint broken = make("broken.gguf", {.broken = true});
  EXPECT_NE(error(broken, nullptr, sample_text()).find("not finite"), std::string::npos);
  EXPECT_NE(error(model, &broken, sample_text()).find("not finite"), std::string::npos);
  Checkpoint encoder = make("encoder.gguf");
  encoder.config.causal = false;
  EXPECT_NE(error(encoder, nullptr, sample_text()).find("needs a decoder"), std::string::npos);
  EXPECT_NE(error(model, &encoder, sample_text()).find("needs a decoder"), std::string::npos);
}

TEST_F(Evaluate, ReportsProgressAndStopsOnRequest) {
  const Checkpoint model = make("model.gguf");
  int64_t last = 0, all = 0;
  bool stop = false;
  Progress progress;
  progress.step = [&](std::string_view stage, int64_t done, int64_t total, std::string_view detail) {
    EXPECT_EQ(stage, "evaluate");
    EXPECT_GT(done, last);
    EXPECT_NE(detail.find("perplexity"), std::string::npos);
    last = done;
    all = total;
  };
  progress.cancelled = [&] { return stop; };
  const EvalResult r = evaluate(model, nullptr, sample_text(), options(128, 0), progress).value();
  EXPECT_EQ(last, r.chunks);
  EXPECT_EQ(all, r.chunks);
  stop = true;
  const auto stopped = evaluate(model, nullptr, sample_text(), options(128, 0), progress);
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().kind, ErrorKind::cancelled);
}

TEST_F(Evaluate, WarnsOfWindowsBeyondTheContextAndOfTooFewOfThem) {
  const Checkpoint model = make("model.gguf");
  std::string said;
  Progress progress;
  progress.log = [&](LogLevel, std::string_view text) { said += text; };
  ASSERT_TRUE(evaluate(model, nullptr, sample_text(), options(200, 99), progress));
  EXPECT_NE(said.find("longer than the model's context of 128"), std::string::npos) << said;
  EXPECT_NE(said.find("the text has only"), std::string::npos) << said;
}

}  // namespace
}  // namespace lissom
