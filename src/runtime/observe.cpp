#include "runtime/observe.h"

#include <algorithm>
#include <new>

namespace lissom::runtime {

uint64_t carried_row_bytes(std::span<const Stage> stages) {
  int64_t widest = 0;
  for (const Stage& stage : stages) widest = std::max(widest, stage.out.width);
  return static_cast<uint64_t>(widest) * sizeof(float);
}

int64_t chunks_at_once(std::span<const Stage> stages, int64_t context, uint64_t bytes) {
  const uint64_t chunk = std::max<uint64_t>(carried_row_bytes(stages) * static_cast<uint64_t>(context), 1);
  return std::max<int64_t>(static_cast<int64_t>(bytes / chunk), 1);
}

Observer::Observer(std::shared_ptr<LoadedModel> model, int64_t context)
    : model_(std::move(model)),
      stages_(cut(model_->program_)),
      context_(context),
      pool_(model_->options_.threads),
      executor_(*model_, pool_) {}

Result<std::unique_ptr<Observer>> Observer::create(const Checkpoint& checkpoint, const RuntimeOptions& options,
                                                   int64_t context) {
  LISSOM_TRY(auto model, LoadedModel::make(checkpoint, options, CompactAt::head));
  model->program_ = only_inputs(std::move(model->program_));
  auto observer = std::make_unique<Observer>(std::move(model), context);
  LISSOM_CHECK(observer->executor_.prepare(context, 1));
  return observer;
}

Result<void> Observer::run(std::span<const Batch> chunks, const ActivationTap& tap, const Passed& passed) {
  try {
    dropped_.assign(chunks.size(), 0);
    const auto rows = static_cast<int64_t>(chunks.size()) * context_;
    LISSOM_CHECK(carried_.grow(rows, static_cast<int64_t>(carried_row_bytes(stages_) / sizeof(float))));
    executor_.set_tap(tap, attended_);
    for (const Stage& stage : stages_) {
      if (std::ranges::all_of(dropped_, [](uint8_t dropped) { return dropped != 0; })) return {};
      LISSOM_CHECK(run_stage(stage, chunks, passed));
    }
  } catch (const std::bad_alloc&) {
    return io_error("out of memory: " + std::to_string(chunks.size()) + " chunks of " +
                    std::to_string(context_) + " tokens");
  }
  return {};
}

Result<void> Observer::run_stage(const Stage& stage, std::span<const Batch> chunks, const Passed& passed) {
  executor_.forget_weights();
  LISSOM_CHECK(model_->hold(needs_of(stage.steps, model_->graph_.weights.size()), pool_));
  const int64_t chunk_floats = context_ * static_cast<int64_t>(carried_row_bytes(stages_) / sizeof(float));
  for (size_t c = 0; c < chunks.size(); ++c) {
    if (dropped_[c] != 0) continue;
    // Nothing is kept of the chunk before: every sequence begins anew.
    LISSOM_CHECK(executor_.begin(chunks[c]));
    float* carried = carried_.data() + static_cast<int64_t>(c) * chunk_floats;
    const auto in = executor_.value(stage.in, executor_.rows());
    std::copy_n(carried, in.size(), in.data());
    executor_.run(stage.steps);
    std::ranges::copy(executor_.value(stage.out, executor_.rows()), carried);
    model_->release_tables();
    LISSOM_TRY(const bool goes_on, passed(c));
    if (!goes_on) dropped_[c] = 1;
  }
  return {};
}

}  // namespace lissom::runtime
