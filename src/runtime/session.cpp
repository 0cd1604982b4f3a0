#include <algorithm>
#include <new>
#include <vector>

#include "base/threads.h"
#include "runtime/batch.h"
#include "runtime/executor.h"
#include "runtime/model.h"

namespace lissom {
namespace runtime {
namespace {

class CpuSession final : public Session {
 public:
  explicit CpuSession(std::shared_ptr<const LoadedModel> model)
      : model_(std::move(model)), pool_(model_->options_.threads), executor_(*model_, pool_) {}

  Result<void> prepare(int64_t context, int64_t sequences) { return executor_.prepare(context, sequences); }

  Result<std::span<const float>> run(const Batch& batch) override {
    try {
      return run_batch(batch);
    } catch (const std::bad_alloc&) {
      return io_error("out of memory: a batch of " + std::to_string(batch.tokens.size()) + " tokens");
    }
  }
  [[nodiscard]] std::span<const float> hidden() const override { return hidden_; }
  [[nodiscard]] std::span<const float> pooled() const override { return pooled_; }
  void clear() override { std::ranges::fill(executor_.lengths(), 0); }
  void clear(int32_t sequence) override {
    if (has(sequence)) executor_.lengths()[static_cast<size_t>(sequence)] = 0;
  }
  [[nodiscard]] int64_t length(int32_t sequence) const override {
    return has(sequence) ? executor_.lengths()[static_cast<size_t>(sequence)] : 0;
  }

 private:
  [[nodiscard]] bool has(int32_t sequence) const {
    return sequence >= 0 && static_cast<size_t>(sequence) < executor_.lengths().size();
  }
  Result<std::span<const float>> run_batch(const Batch& batch) {
    hidden_ = pooled_ = {};
    const Program& p = model_->program_;
    if (!p.has_cache && batch.tokens.size() > static_cast<size_t>(kPieceRows)) return run_pieces(batch);
    LISSOM_CHECK(run_together(batch));
    return p.logits.slot >= 0 ? executor_.value(p.logits, executor_.rows()) : hidden_;
  }
  Result<void> run_together(const Batch& batch) {
    LISSOM_CHECK(executor_.begin(batch));
    const Program& p = model_->program_;
    executor_.run(p.steps);
    executor_.keep();
    hidden_ = executor_.value(p.hidden, p.pooled.slot >= 0 ? executor_.token_rows() : executor_.rows());
    pooled_ = executor_.value(p.pooled, executor_.rows());
    return {};
  }
  Result<std::span<const float>> run_pieces(const Batch& batch) {
    LISSOM_CHECK(executor_.check(batch));  // errors name rows of the whole
    const Program& p = model_->program_;
    const auto append = [](std::span<const float> more, std::vector<float>& all) {
      all.insert(all.end(), more.begin(), more.end());
    };
    all_hidden_.clear();
    all_pooled_.clear();
    all_logits_.clear();
    for (const Batch& piece : pieces_of(batch)) {
      LISSOM_CHECK(run_together(piece));
      append(hidden_, all_hidden_);
      append(pooled_, all_pooled_);
      append(executor_.value(p.logits, executor_.rows()), all_logits_);
    }
    hidden_ = all_hidden_;
    pooled_ = all_pooled_;
    return p.logits.slot >= 0 ? std::span<const float>(all_logits_) : hidden_;
  }

  std::shared_ptr<const LoadedModel> model_;
  ThreadPool pool_;
  Executor executor_;
  std::span<const float> hidden_, pooled_;
  std::vector<float> all_hidden_, all_pooled_, all_logits_;  ///< of an encoder's pieces
};

}  // namespace
}  // namespace runtime

Result<std::unique_ptr<Session>> Session::create(std::shared_ptr<Model> model, int64_t context,
                                                 int64_t sequences) {
  auto loaded = std::dynamic_pointer_cast<const runtime::LoadedModel>(std::move(model));
  if (loaded == nullptr) return bad_input("a session needs a model made by Model::load");
  try {
    auto session = std::make_unique<runtime::CpuSession>(std::move(loaded));
    LISSOM_CHECK(session->prepare(context, sequences));
    return session;
  } catch (const std::bad_alloc&) {
    return io_error("out of memory: a session of " + std::to_string(context) + " positions");
  }
}

}  // namespace lissom
