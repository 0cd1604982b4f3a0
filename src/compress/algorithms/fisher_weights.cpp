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
                                             const std::set<std::string>& coupled, int threads,
                                             const Progress& progress) {
  FisherWeights weights;
  if (chunks.empty()) return weights;
  const std::map<WeightId, std::string> labels = labels_of(checkpoint.graph);
  LISSOM_TRY(const auto reader, engine.token_fisher(checkpoint, {.threads = threads}));
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

}  // namespace lissom
