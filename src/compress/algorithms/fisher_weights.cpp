#include "compress/algorithms/fisher_weights.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "runtime/attended.h"

namespace lissom {
namespace {

/// The input label of each linear whose tokens count as its output's do.
std::map<WeightId, std::string> labels_of(const Graph& graph) {
  std::map<WeightId, std::string> labels;
  for (const Op& op : graph.ops)
    if (const auto* linear = std::get_if<LinearOp>(&op))
      if (const std::string label = runtime::counted_label(graph, *linear); !runtime::is_weighed(label))
        labels[linear->weight] = label;
  return labels;
}

bool all_finite(const TokenFisher::ByWeight& found) {
  return std::ranges::all_of(found, [](const auto& item) {
    return std::ranges::all_of(item.second, [](float v) { return v < 1e30F; });
  });
}

/// To a mean of 1; all 1 where there is nothing.
void normalize(std::vector<float>& weights) {
  const double mean =
      std::accumulate(weights.begin(), weights.end(), 0.0) / static_cast<double>(weights.size());
  for (float& w : weights) w = mean > 0 ? static_cast<float>(double{w} / mean) : 1.0F;
}

}  // namespace

Result<FisherWeights> FisherWeights::collect(const Checkpoint& checkpoint, const Engine& engine,
                                             std::span<const Batch> chunks,
                                             const std::set<std::string>& coupled, const EngineOptions& options,
                                             const Progress& progress) {
  FisherWeights weights;
  if (chunks.empty()) return weights;
  const std::map<WeightId, std::string> labels = labels_of(checkpoint.graph);
  LISSOM_TRY(const auto reader, engine.token_fisher(checkpoint, options));
  weights.tokens_ = static_cast<int64_t>(chunks.front().tokens.size());
  const auto tokens = static_cast<size_t>(weights.tokens_);
  std::map<WeightId, std::vector<float>> by_weight;
  TokenFisher::Moments moments;
  for (const auto& [id, label] : labels) {
    const Weight& weight = checkpoint.graph.weights[static_cast<size_t>(id)];
    const auto rows = static_cast<size_t>(weight.shape.rows());
    if (coupled.contains(weight.name)) moments[id].resize(rows * rows);
  }
  std::vector<uint8_t> known(chunks.size(), 1);
  for (size_t c = 0; c < chunks.size(); ++c) {
    if (progress.stop_requested()) return tl::unexpected(Error{ErrorKind::cancelled, "stopped"});
    progress.report("gradients", static_cast<int64_t>(c), static_cast<int64_t>(chunks.size()));
    LISSOM_TRY(const TokenFisher::ByWeight found, reader->pass(chunks[c].tokens, c, &moments));
    if (!all_finite(found)) {
      known[c] = 0;
      continue;
    }
    for (const auto& [weight, values] : found) {
      if (!labels.contains(weight) || values.size() != tokens) continue;
      std::vector<float>& all = by_weight[weight];
      all.resize(chunks.size() * tokens);
      std::ranges::copy(values, all.begin() + static_cast<ptrdiff_t>(c * tokens));
    }
  }
  for (auto& [weight, values] : moments)
    weights.moments_[checkpoint.graph.weights[static_cast<size_t>(weight)].name] = std::move(values);
  for (auto& [weight, values] : by_weight) {
    normalize(values);
    std::vector<float>& sum = weights.roots_[labels.at(weight)];
    sum.resize(values.size());
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += values[i];
  }
  for (auto& [label, roots] : weights.roots_) {
    normalize(roots);
    for (size_t i = 0; i < roots.size(); ++i) roots[i] = known[i / tokens] != 0 ? std::sqrt(roots[i]) : 1.0F;
  }
  return weights;
}

const float* FisherWeights::weigh(const std::string& label, size_t chunk, const float* x, int64_t rows,
                                  int64_t cols) {
  const auto found = roots_.find(label);
  if (found == roots_.end() || rows == 0) return x;
  const float* roots = found->second.data() + chunk * static_cast<size_t>(tokens_);
  const int64_t step = (tokens_ + rows - 1) / rows;
  weighed_.resize(static_cast<size_t>(rows * cols));
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = r * cols; i < (r + 1) * cols; ++i)
      weighed_[static_cast<size_t>(i)] = x[i] * roots[r * step];
  return weighed_.data();
}

uint64_t fisher_memory(const Checkpoint& checkpoint, int64_t tokens, bool by_block) {
  const Graph& graph = checkpoint.graph;
  const Config& c = checkpoint.config;
  uint64_t all = 0, most = 0, largest = 0;
  std::set<WeightId> seen;
  for (size_t begin = 0, b = 0; begin < graph.ops.size(); ++b) {
    const size_t end =
        b < graph.block_begin.size() ? static_cast<size_t>(graph.block_begin[b]) : graph.ops.size();
    std::set<WeightId> own;
    for (size_t i = begin; i < end; ++i)
      for (const WeightId id : weights_of(graph.ops[i])) own.insert(id);
    uint64_t block = 0;
    for (const WeightId id : own) {
      const auto n = static_cast<uint64_t>(graph.weights[static_cast<size_t>(id)].shape.elements());
      largest = std::max(largest, n);
      block += n;
      if (seen.insert(id).second) all += n;
    }
    most = std::max(most, block);
    begin = end;
  }
  // Of a block what its derivative is made from, as distill_memory() has it; and what each block takes over.
  const auto kept = static_cast<uint64_t>(8 * c.width + 4 * std::max(c.ff, c.experts.ff * c.experts.used));
  const auto layers = static_cast<uint64_t>(c.layers);
  const uint64_t rows = by_block ? kept + layers * static_cast<uint64_t>(c.width) : layers * kept;
  // Weights in BF16, and one of them in F32 while it comes in; the logits at work.
  return (by_block ? most : all) * 2 + largest * 4 + rows * static_cast<uint64_t>(tokens) * 4 +
         6 * 256 * static_cast<uint64_t>(c.vocab) * 4;
}

}  // namespace lissom
