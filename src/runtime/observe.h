#pragma once
// Shows the inputs of a model's linears while it reads, with one stage of the model in memory at a time.

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "lissom/model.h"
#include "lissom/result.h"
#include "lissom/runtime.h"
#include "runtime/executor.h"
#include "runtime/stages.h"
#include "runtime/tap.h"

namespace lissom::runtime {

/// The widest value between two stages, F32: bytes of a row.
[[nodiscard]] uint64_t carried_row_bytes(std::span<const Stage> stages);
/// Chunks of which a run carries no more than `bytes` from stage to stage; at least one.
[[nodiscard]] int64_t chunks_at_once(std::span<const Stage> stages, int64_t context, uint64_t bytes);

/// Runs chunks of text through a model stage by stage. A stage's weights are loaded, used for every chunk and
/// dropped, the file's pages with them; of a chunk only the one value between two stages is kept. No result is
/// computed that no linear reads: the output matrix is never touched. Every linear sees all rows of a chunk;
/// after the last block of a decoder only the wanted ones go on.
class Observer {
 public:
  /// `context`: tokens of a chunk, at most. Fails on what Model::load refuses before it reads any weight.
  [[nodiscard]] static Result<std::unique_ptr<Observer>> create(const Checkpoint& checkpoint,
                                                                const RuntimeOptions& options, int64_t context);
  Observer(std::shared_ptr<LoadedModel> model, int64_t context);

  [[nodiscard]] std::span<const Stage> stages() const { return stages_; }
  /// From now on the tap sees what attention makes of the inputs of keys and values too (attended.h).
  void look_through_attention() { attended_ = true; }
  /// Called when a chunk has passed a stage; false: it goes no further. An error ends the run.
  using Passed = std::function<Result<bool>(size_t chunk)>;
  /// Each chunk is one sequence and begins with an empty cache. The tap sees a stage's inputs of one chunk,
  /// then of the next.
  [[nodiscard]] Result<void> run(std::span<const Batch> chunks, const ActivationTap& tap, const Passed& passed);

 private:
  [[nodiscard]] Result<void> run_stage(const Stage& stage, std::span<const Batch> chunks, const Passed& passed);

  std::shared_ptr<LoadedModel> model_;
  std::vector<Stage> stages_;
  int64_t context_;
  ThreadPool pool_;
  Executor executor_;
  Buffer carried_;  ///< one piece, which goes back to the system whole: [chunk][row][feature]
  std::vector<uint8_t> dropped_;
  bool attended_ = false;
};

/// Memory that runs need, as memory_needed() tells it of a session: chunks of load.rows tokens, as many of them
/// at once as `carried_bytes` allow.
[[nodiscard]] Result<MemoryNeed> memory_to_observe(const Graph& graph, std::span<const TensorInfo> tensors,
                                                   const RuntimeOptions& options, const Load& load,
                                                   int64_t chunks, uint64_t carried_bytes);

}  // namespace lissom::runtime
