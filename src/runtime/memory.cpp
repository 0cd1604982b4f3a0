#include <algorithm>
#include <map>

#include "base/threads.h"
#include "kernels/kernels.h"
#include "lissom/codec.h"
#include "lissom/runtime.h"
#include "runtime/batch.h"
#include "runtime/cache.h"
#include "runtime/needs.h"
#include "runtime/observe.h"
#include "runtime/program.h"

namespace lissom {
namespace {

using runtime::Needs;
using runtime::Program;

uint64_t held_bytes(const TensorInfo& info, const Needs& needs, const RuntimeOptions& options) {
  const Codec* codec = find_codec(info.type);
  const auto precision = options.exact ? kernels::Precision::exact : kernels::Precision::fast;
  uint64_t bytes = 0;
  if (needs.vector) bytes += static_cast<uint64_t>(info.shape.elements()) * sizeof(float);
  if (needs.matrix)
    bytes += codec == nullptr
                 ? info.bytes
                 : kernels::PackedMatrix::packed_bytes(runtime::held_codec(*codec, options), info.shape.rows(),
                                                       info.shape.cols(), precision);
  if (needs.experts)
    bytes += codec == nullptr
                 ? info.bytes
                 : static_cast<uint64_t>(info.shape[0]) *
                       kernels::PackedMatrix::packed_bytes(runtime::held_codec(*codec, options), info.shape[1],
                                                           info.shape[2], precision);
  // A table stays in the file, and the few rows that are read of it do not count; one of several components is
  // put together in memory.
  const bool table = needs.table && !needs.matrix && !needs.experts;
  if (table && codec != nullptr && codec->components(info.shape).size() > 1) bytes += info.bytes;
  return bytes;
}

/// Slots, and the widest product's input as the kernels want it: at most F32, as large again as the slot.
uint64_t activation_bytes(const Program& program, const Load& load, bool compacts) {
  int64_t floats = 0, widest = 0;
  for (const runtime::Slot& slot : program.slots)
    floats += slot.width * (slot.late && compacts ? load.wanted : load.rows);
  for (const runtime::Step& step : program.steps)
    if (const auto* product = std::get_if<runtime::Product>(&step))
      widest = std::max(widest, product->in.width);
    else if (const auto* mixture = std::get_if<runtime::Mixture>(&step))  // rows as one expert gathers them
      widest = std::max(widest, 2 * (mixture->in.width + mixture->op->experts.ff));
  return static_cast<uint64_t>(floats + widest * load.rows) * sizeof(float);
}

uint64_t cache_bytes(const Program& program, const RuntimeOptions& options, const Load& load) {
  if (program.kv_layers == 0) return 0;
  const kernels::CacheType type = runtime::cache_type(program.has_cache, options);
  const int64_t layers = program.has_cache ? program.kv_layers : 1;
  const int64_t row = program.kv_heads * kernels::cache_row_bytes(type, program.head_dim);
  return static_cast<uint64_t>(2 * layers * load.context * row);
}

using Directory = std::map<std::string_view, const TensorInfo*>;

Directory directory_of(std::span<const TensorInfo> tensors) {
  Directory by_name;
  for (const TensorInfo& info : tensors) by_name.emplace(info.name, &info);
  return by_name;
}

/// Of the weights that these steps read: all of them, and the most while they come in.
MemoryNeed weights_of(std::span<const runtime::Step> steps, const Graph& graph, const Directory& directory,
                      const RuntimeOptions& options) {
  const std::vector<Needs> needs = runtime::needs_of(steps, graph.weights.size());
  MemoryNeed need;
  for (size_t i = 0; i < needs.size(); ++i) {
    const auto found = directory.find(graph.weights[i].name);
    if (!needs[i].any() || found == directory.end()) continue;
    need.weights += held_bytes(*found->second, needs[i], options);
    if (!needs[i].vector && !needs[i].matrix && !needs[i].experts) continue;
    const uint64_t rounded = options.bf16 && found->second->type == "F32" ? found->second->bytes / 2 : 0;
    need.loading = std::max(need.loading, need.weights + found->second->bytes + rounded);
  }
  return need;
}

}  // namespace

Result<MemoryNeed> memory_needed(const Graph& graph, std::span<const TensorInfo> tensors,
                                 const RuntimeOptions& options, const Load& load) {
  LISSOM_TRY(const Program program, runtime::lower(graph, runtime::CompactAt::last_attention));
  MemoryNeed need = weights_of(program.steps, graph, directory_of(tensors), options);
  need.cache = cache_bytes(program, options, load);
  Load at_once = load;
  if (!program.has_cache) {  // pieces, and their results put together
    at_once.rows = std::min(load.rows, std::max(runtime::kPieceRows, load.context / load.sequences));
    if (at_once.rows < load.rows)
      need.activations = static_cast<uint64_t>(load.rows * program.hidden.width) * sizeof(float);
  }
  need.activations += activation_bytes(program, at_once, graph.logits >= 0);
  return need;
}

Result<MemoryNeed> runtime::memory_to_observe(const Graph& graph, std::span<const TensorInfo> tensors,
                                              const RuntimeOptions& options, const Load& load, int64_t chunks,
                                              uint64_t carried_bytes) {
  LISSOM_TRY(Program program, lower(graph, CompactAt::head));
  program = only_inputs(std::move(program));
  const std::vector<Stage> stages = cut(program);
  const Directory directory = directory_of(tensors);
  MemoryNeed need;
  for (const Stage& stage : stages) {
    const MemoryNeed own = weights_of(stage.steps, graph, directory, options);
    need.weights = std::max(need.weights, own.weights);
    need.loading = std::max(need.loading, own.loading);
  }
  need.cache = cache_bytes(program, options, load);
  const int64_t rows = std::min(chunks, chunks_at_once(stages, load.rows, carried_bytes)) * load.rows;
  need.activations = activation_bytes(program, load, graph.logits >= 0) +
                     carried_row_bytes(stages) * static_cast<uint64_t>(rows);
  need.loading += need.cache + need.activations;  // what the stage before has left
  return need;
}

}  // namespace lissom
