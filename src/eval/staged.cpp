#include "eval/staged.h"

#include <algorithm>
#include <new>

namespace lissom {
namespace {

bool attends(const runtime::Stage& stage) {
  return std::ranges::any_of(stage.steps, [](const runtime::Step& step) {
    return std::holds_alternative<runtime::Attend>(step) ||
           std::holds_alternative<runtime::RelativeAttend>(step);
  });
}

/// Stages end where blocks do: with their last norm in post-norm models, before the head's in others.
std::vector<runtime::Stage> cut_at_blocks(const runtime::LoadedModel& model) {
  const Graph& graph = model.graph_;
  std::vector<bool> of_head(graph.weights.size(), false);
  for (auto i = static_cast<size_t>(graph.block_begin.back()); i < graph.ops.size(); ++i)
    if (const auto* norm = std::get_if<NormOp>(&graph.ops[i]); norm != nullptr && norm->weight >= 0)
      of_head[static_cast<size_t>(norm->weight)] = true;
  return runtime::cut(model.program_, [&](const runtime::Step& step) {
    const auto needs = runtime::needs_of({&step, 1}, of_head.size());
    for (size_t i = 0; i < needs.size(); ++i)
      if (of_head[i] && needs[i].any()) return false;
    return true;
  });
}

}  // namespace

Result<std::unique_ptr<StagedModel>> StagedModel::make(const Checkpoint& checkpoint,
                                                       const RuntimeOptions& options, int64_t context,
                                                       ThreadPool& pool) {
  LISSOM_TRY(auto model, runtime::LoadedModel::make(checkpoint, options, runtime::CompactAt::head));
  if (checkpoint.graph.block_begin.empty())
    return unsupported(checkpoint.path.string() + ": its graph has no transformer blocks to look at");
  runtime::Program& program = model->program_;
  // Every row is carried; which of them reach the head is the caller's choice.
  std::erase_if(program.steps,
                [](const runtime::Step& step) { return std::holds_alternative<runtime::Compact>(step); });
  runtime::use_one_layer(program);
  auto staged = std::make_unique<StagedModel>(std::move(model), pool);
  if (staged->blocks_.empty())
    return unsupported(checkpoint.path.string() + ": its graph has no transformer blocks to look at");
  LISSOM_CHECK(staged->executor_.prepare(context, 1));
  return staged;
}

StagedModel::StagedModel(std::shared_ptr<runtime::LoadedModel> model, ThreadPool& pool)
    : model_(std::move(model)), pool_(pool), stages_(cut_at_blocks(*model_)), executor_(*model_, pool_) {
  for (size_t s = 0; s < stages_.size(); ++s) {
    const std::vector<bool> used = weights_of({s, s + 1});
    bool in_block = false;
    for (size_t i = 0; i < used.size(); ++i)
      in_block = in_block || (used[i] && graph().weights[i].name.starts_with("blk."));
    if (attends(stages_[s]))
      blocks_.push_back({s, s + 1});
    else if (in_block && !blocks_.empty())
      blocks_.back().last = s + 1;
    widest_ = std::max(widest_, width_after(s));
  }
}

int64_t StagedModel::width_after(size_t stage) const {
  const runtime::View& out = stages_[stage].out;
  return out.slot >= 0 ? out.width : model_->program_.hidden.width;
}

std::vector<bool> StagedModel::weights_of(StageRange stages) const {
  std::vector<bool> used(graph().weights.size(), false);
  for (size_t s = stages.first; s < stages.last; ++s) {
    const auto needs = runtime::needs_of(stages_[s].steps, used.size());
    for (size_t i = 0; i < used.size(); ++i) used[i] = used[i] || needs[i].any();
  }
  return used;
}

Result<void> StagedModel::hold(StageRange stages) {
  std::vector<runtime::Step> steps;
  for (size_t s = stages.first; s < stages.last; ++s)
    steps.insert(steps.end(), stages_[s].steps.begin(), stages_[s].steps.end());
  held_ = runtime::needs_of(steps, graph().weights.size());
  executor_.forget_weights();
  try {
    return model_->hold(held_, pool_);
  } catch (const std::bad_alloc&) {
    return io_error("out of memory while loading weights");
  }
}

Result<void> StagedModel::use(std::shared_ptr<const TensorSource> source,
                              const std::vector<WeightId>& changed) {
  std::vector<runtime::Needs> kept = held_;
  for (const WeightId id : changed) kept[static_cast<size_t>(id)] = {};
  LISSOM_CHECK(model_->hold(kept, pool_));
  model_->source_ = std::move(source);
  executor_.forget_weights();
  try {
    return model_->hold(held_, pool_);
  } catch (const std::bad_alloc&) {
    return io_error("out of memory while loading weights");
  }
}

Result<void> StagedModel::run(StageRange stages, std::span<const int32_t> tokens, float* state) {
  if (stages.empty()) return {};
  // No row asks for logits, so that they have no memory here.
  unwanted_.assign(tokens.size(), 0);
  Batch batch;
  batch.tokens = tokens;
  batch.wanted = unwanted_;
  LISSOM_CHECK(run_stages(stages, batch, state));
  const runtime::View& out = stages_[stages.last - 1].out;
  const bool last = out.slot < 0;
  const auto values = last ? executor_.value(model_->program_.hidden, executor_.token_rows())
                           : executor_.value(out, executor_.rows());
  std::ranges::copy(values, state);
  model_->release_tables();
  return {};
}

Result<std::span<const float>> StagedModel::logits(const float* states, int64_t rows) {
  any_token_.assign(static_cast<size_t>(rows), 0);
  Batch batch;
  batch.tokens = any_token_;
  LISSOM_CHECK(run_stages(head(), batch, states));
  return executor_.value(model_->program_.logits, rows);
}

Result<void> StagedModel::run_stages(StageRange stages, const Batch& batch, const float* state) {
  try {
    // Nothing is kept of the run before: every sequence begins anew.
    LISSOM_CHECK(executor_.begin(batch));
    const auto in = executor_.value(stages_[stages.first].in, executor_.rows());
    std::copy_n(state, in.size(), in.data());
    for (size_t s = stages.first; s < stages.last; ++s) executor_.run(stages_[s].steps);
    return {};
  } catch (const std::bad_alloc&) {
    return io_error("out of memory: " + std::to_string(batch.tokens.size()) + " tokens");
  }
}

}  // namespace lissom
