#pragma once
// A model that runs a part at a time on hidden states which the caller carries from part to part.

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/threads.h"
#include "lissom/model.h"
#include "lissom/result.h"
#include "lissom/runtime.h"
#include "runtime/executor.h"
#include "runtime/stages.h"

namespace lissom {

/// Neighbouring stages.
struct StageRange {
  size_t first = 0, last = 0;  ///< last is not part of it
  [[nodiscard]] bool empty() const { return first == last; }
};

class StagedModel {
 public:
  /// Without weights. Fails on what Model::load refuses before it reads any. The pool outlives it.
  [[nodiscard]] static Result<std::unique_ptr<StagedModel>> make(const Checkpoint& checkpoint,
                                                                 const RuntimeOptions& options, int64_t context,
                                                                 ThreadPool& pool);
  StagedModel(std::shared_ptr<runtime::LoadedModel> model, ThreadPool& pool);

  [[nodiscard]] const Config& config() const { return model_->config(); }
  [[nodiscard]] const Graph& graph() const { return model_->graph(); }
  [[nodiscard]] Target target() const { return model_->target_; }
  [[nodiscard]] int64_t blocks() const { return static_cast<int64_t>(blocks_.size()); }
  [[nodiscard]] StageRange embeddings() const { return {0, blocks_.front().first}; }
  [[nodiscard]] StageRange block(int64_t i) const { return blocks_[static_cast<size_t>(i)]; }
  /// From block i to the last: all but the head.
  [[nodiscard]] StageRange from_block(int64_t i) const { return {block(i).first, blocks_.back().last}; }
  /// Empty where the last block's stage makes all results (encoders).
  [[nodiscard]] StageRange head() const { return {blocks_.back().last, stages_.size()}; }
  [[nodiscard]] StageRange all() const { return {0, stages_.size()}; }
  /// Features of the state after a stage; the widest of all.
  [[nodiscard]] int64_t width_after(size_t stage) const;
  [[nodiscard]] int64_t widest() const { return widest_; }
  /// Which weights the stages read, by WeightId.
  [[nodiscard]] std::vector<bool> weights_of(StageRange stages) const;

  /// Makes these stages' weights the ones in memory.
  [[nodiscard]] Result<void> hold(StageRange stages);
  [[nodiscard]] std::shared_ptr<const TensorSource> source() const { return model_->source_; }
  /// Other tensors from here on: of what is held, `changed` is read again.
  [[nodiscard]] Result<void> use(std::shared_ptr<const TensorSource> source,
                                 const std::vector<WeightId>& changed);
  /// One sequence through stages that are held, from its first token. state: tokens × width before, and after.
  [[nodiscard]] Result<void> run(StageRange stages, std::span<const int32_t> tokens, float* state);
  /// The head on some rows of last states, at most a context of them: rows × vocab, until the next run.
  [[nodiscard]] Result<std::span<const float>> logits(const float* states, int64_t rows);

 private:
  [[nodiscard]] Result<void> run_stages(StageRange stages, const Batch& batch, const float* state);

  std::shared_ptr<runtime::LoadedModel> model_;
  ThreadPool& pool_;
  std::vector<runtime::Stage> stages_;
  std::vector<StageRange> blocks_;
  runtime::Executor executor_;
  std::vector<runtime::Needs> held_;
  int64_t widest_ = 0;
  std::vector<uint8_t> unwanted_;
  std::vector<int32_t> any_token_;
};

}  // namespace lissom
