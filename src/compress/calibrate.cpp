#include "compress/calibrate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

#include "compress/layers.h"
#include "runtime/observe.h"

namespace lissom {
namespace {

constexpr int64_t kLeastTokens = 16;

/// The chunks of a text, and what became of them.
struct Chunks {
  std::vector<Batch> all;
  std::vector<uint8_t> finite;  ///< of each: nothing else was seen yet

  [[nodiscard]] std::vector<size_t> finite_of(size_t first, size_t end) const {
    std::vector<size_t> some;
    for (size_t i = first; i < std::min(end, all.size()); ++i)
      if (finite[i] != 0) some.push_back(i);
    return some;
  }
};

/// Gathers sums of one group of chunks after the other.
struct Gathering {
  runtime::Observer& observer;
  Chunks& chunks;
  const Progress& progress;
  SquareSums sums = {};
  int64_t done = 0;  ///< chunks × stages

  /// True where all chunks stayed finite.
  Result<bool> run(const std::vector<size_t>& group) {
    std::vector<Batch> batches;
    batches.reserve(group.size());
    for (const size_t i : group) batches.push_back(chunks.all[i]);
    const int64_t total =
        static_cast<int64_t>(chunks.all.size()) * static_cast<int64_t>(observer.stages().size());
    bool finite = true;
    const auto tap = [this](const std::string& label, const float* x, int64_t rows, int64_t cols) {
      sums.add(label, x, rows, cols);
    };
    const auto passed = [&](size_t i) -> Result<bool> {
      if (progress.stop_requested()) return tl::unexpected(Error{ErrorKind::cancelled, "stopped"});
      progress.report("calibrate", std::min(++done, total), total);
      const bool ok = sums.commit();
      if (!ok) chunks.finite[group[i]] = 0;
      finite = finite && ok;
      return ok;
    };
    LISSOM_CHECK(observer.run(batches, tap, passed));
    return finite;
  }
};

}  // namespace

void SquareSums::add(const std::string& label, const float* x, int64_t rows, int64_t cols) {
  Sum& sum = chunk_[label];
  sum.square.resize(static_cast<size_t>(cols));
  for (int64_t r = 0; r < rows; ++r) {
    const float* row = x + r * cols;
    for (int64_t c = 0; c < cols; ++c) {
      const auto v = static_cast<double>(row[c]);
      sum.square[static_cast<size_t>(c)] += v * v;
    }
  }
  sum.tokens += rows;
}

bool SquareSums::commit() {
  // Squares of large finite values overflow no double; what does not fit into the file's F32 counts as not
  // finite.
  const bool finite = std::ranges::all_of(chunk_, [](const auto& item) {
    return std::ranges::all_of(item.second.square, [](double v) { return v < 1e30; });
  });
  if (finite) {
    for (const auto& [label, sum] : chunk_) {
      Sum& total = total_[label];
      total.square.resize(sum.square.size());
      for (size_t c = 0; c < sum.square.size(); ++c) total.square[c] += sum.square[c];
      total.tokens += sum.tokens;
    }
  }
  chunk_.clear();
  return finite;
}

void SquareSums::add_to(Importance::Entry& entry, const std::string& label) const {
  const auto found = total_.find(label);
  if (found == total_.end()) return;
  const Sum& sum = found->second;
  if (entry.sum_square.empty()) entry.sum_square.resize(sum.square.size());
  // A matrix that several layers share (ALBERT's) has the inputs of all of them.
  for (size_t c = 0; c < sum.square.size(); ++c)
    entry.sum_square[c] = static_cast<float>(static_cast<double>(entry.sum_square[c]) + sum.square[c]);
  entry.tokens += sum.tokens;
}

Importance::Entry SquareSums::expert_entry(const std::string& label, int64_t experts, int64_t cols) const {
  Importance::Entry entry;
  for (int64_t e = 0; e < experts; ++e) {
    Importance::Entry own;
    add_to(own, label + "#" + std::to_string(e));
    own.sum_square.resize(static_cast<size_t>(cols));
    entry.sum_square.insert(entry.sum_square.end(), own.sum_square.begin(), own.sum_square.end());
    entry.expert_tokens.push_back(own.tokens);
    entry.tokens += own.tokens;
  }
  return entry;
}

std::map<std::string, Importance::Entry> SquareSums::entries(const Graph& graph) const {
  std::map<std::string, Importance::Entry> out;
  const auto weight = [&](WeightId id) -> const Weight& { return graph.weights[static_cast<size_t>(id)]; };
  for (const Op& op : graph.ops) {
    if (const auto* linear = std::get_if<LinearOp>(&op))
      add_to(out[weight(linear->weight).name], linear->input_label);
    const auto* moe = std::get_if<MoeOp>(&op);
    if (moe == nullptr) continue;
    for (const WeightId id : {moe->gate, moe->up, moe->down}) {
      const std::string& label = id == moe->down ? moe->hidden_label : moe->input_label;
      out[weight(id).name] = expert_entry(label, moe->experts.count, weight(id).shape.cols());
    }
  }
  std::erase_if(out, [](const auto& item) { return item.second.tokens == 0; });
  return out;
}

std::vector<StarvedExpert> starved_experts(const Importance& importance) {
  std::vector<StarvedExpert> starved;
  for (const auto& [name, entry] : importance.entries) {
    if (name.find("ffn_down_exps") == std::string::npos) continue;  // the others saw the same rows
    for (size_t e = 0; e < entry.expert_tokens.size(); ++e)
      if (entry.expert_tokens[e] < Importance::kEnoughTokens)
        starved.push_back({layer_of(name), static_cast<int64_t>(e), entry.expert_tokens[e]});
  }
  std::ranges::stable_sort(starved, {}, &StarvedExpert::layer);
  return starved;
}

Result<CalibrationChunks> cut_calibration(const Checkpoint& checkpoint, const Tokenizer& tokenizer,
                                          std::string_view text, const CalibrationOptions& options) {
  CalibrationChunks cut;
  cut.ids = tokenizer.encode(text, false).ids;
  const std::vector<int32_t> lead = tokenizer.encode("", true).ids;
  const auto tokens = static_cast<int64_t>(cut.ids.size());
  if (tokens < kLeastTokens)
    return bad_input(
        fmt::format("calibration text of {} tokens: at least {} are needed", tokens, kLeastTokens));
  cut.context = std::min(options.context, tokens);
  if (checkpoint.config.context > 0) cut.context = std::min(cut.context, checkpoint.config.context);
  int64_t chunks = tokens / cut.context;
  if (options.chunks > 0) chunks = std::min(chunks, options.chunks);
  const auto size = static_cast<size_t>(cut.context);
  cut.wanted.resize(size);
  for (size_t i = 0; i < size; ++i) cut.wanted[i] = i % size_t{kHeadStride} == 0 ? 1 : 0;
  for (size_t i = 0; i < static_cast<size_t>(chunks); ++i) {
    if (!lead.empty()) cut.ids[i * size] = lead.front();
    Batch batch;
    batch.tokens = std::span(cut.ids).subspan(i * size, size);
    if (checkpoint.config.causal) batch.wanted = cut.wanted;
    cut.batches.push_back(batch);
  }
  return cut;
}

Result<Importance> collect_importance(const Checkpoint& checkpoint, const Tokenizer& tokenizer,
                                      std::string_view text, const std::string& dataset,
                                      const CalibrationOptions& options, const Progress& progress) {
  LISSOM_TRY(CalibrationChunks cut, cut_calibration(checkpoint, tokenizer, text, options));
  const int64_t context = cut.context;
  Chunks pieces;
  pieces.all = std::move(cut.batches);
  pieces.finite.assign(pieces.all.size(), 1);
  LISSOM_TRY(const auto observer, runtime::Observer::create(checkpoint, options.runtime, context));
  Gathering gathering{*observer, pieces, progress};
  const auto at_once =
      static_cast<size_t>(runtime::chunks_at_once(observer->stages(), context, options.carried_bytes));
  for (size_t first = 0; first < pieces.all.size(); first += at_once) {
    const SquareSums before = gathering.sums;
    // Where a chunk turns out not to be finite, earlier layers have seen it: the group is run again without it.
    for (bool finite = false; !finite;) {
      gathering.sums = before;
      LISSOM_TRY(finite, gathering.run(pieces.finite_of(first, first + at_once)));
    }
  }
  Importance importance;
  importance.datasets = {dataset};
  importance.chunk_size = context;
  importance.chunks = std::ranges::count(pieces.finite, 1);
  importance.skipped_chunks = static_cast<int64_t>(pieces.all.size()) - importance.chunks;
  importance.entries = gathering.sums.entries(checkpoint.graph);
  if (importance.chunks == 0)
    return bad_input("calibration: every chunk had activations that are not finite; is the checkpoint sound?");
  return importance;
}

Result<uint64_t> importance_memory(const Checkpoint& checkpoint, int64_t tokens,
                                   const CalibrationOptions& options) {
  const Graph& graph = checkpoint.graph;
  const auto tensors = checkpoint.tensors->tensors();
  const int64_t rows = options.context, chunks = tokens > 0 ? (tokens + rows - 1) / rows : INT32_MAX;
  LISSOM_TRY(const MemoryNeed need,
             runtime::memory_to_observe(graph, tensors, options.runtime, {rows, 1, rows, rows / kHeadStride},
                                        chunks, options.carried_bytes));
  uint64_t sums = 0;  // two sums in F64 and one in F32 for each input of a group of linears
  std::set<std::string> seen;
  for (const Op& op : graph.ops) {
    const auto* linear = std::get_if<LinearOp>(&op);
    if (linear != nullptr && seen.insert(linear->input_label).second)
      sums += static_cast<uint64_t>(graph.widths[static_cast<size_t>(linear->in)]) * 20;
    if (const auto* moe = std::get_if<MoeOp>(&op))  // each expert has its own
      sums += static_cast<uint64_t>(moe->experts.count * (checkpoint.config.width + moe->experts.ff)) * 20;
  }
  return need.peak() + sums;
}

}  // namespace lissom
