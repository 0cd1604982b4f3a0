#include "compress/calibrate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "compress/layers.h"

namespace lissom {
namespace {

constexpr int64_t kLeastTokens = 16;

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

Result<Importance> collect_importance(const std::shared_ptr<Model>& model, const Tokenizer& tokenizer,
                                      std::string_view text, const std::string& dataset,
                                      const CalibrationOptions& options, const Progress& progress) {
  const std::vector<int32_t> ids = tokenizer.encode(text, false).ids;
  const std::vector<int32_t> lead = tokenizer.encode("", true).ids;
  const auto tokens = static_cast<int64_t>(ids.size());
  if (tokens < kLeastTokens)
    return bad_input(
        fmt::format("calibration text of {} tokens: at least {} are needed", tokens, kLeastTokens));
  int64_t context = std::min(options.context, tokens);
  if (model->config().context > 0) context = std::min(context, model->config().context);
  int64_t chunks = tokens / context;
  if (options.chunks > 0) chunks = std::min(chunks, options.chunks);

  LISSOM_TRY(const auto session, Session::create(model, context));
  SquareSums sums;
  session->set_tap([&sums](const std::string& label, const float* x, int64_t rows, int64_t cols) {
    sums.add(label, x, rows, cols);
  });
  Importance importance;
  importance.datasets = {dataset};
  importance.chunk_size = context;
  std::vector<uint8_t> wanted(static_cast<size_t>(context));
  for (size_t i = 0; i < wanted.size(); ++i) wanted[i] = i % size_t{kHeadStride} == 0 ? 1 : 0;
  std::vector<int32_t> chunk;
  for (int64_t i = 0; i < chunks; ++i) {
    if (progress.stop_requested()) return tl::unexpected(Error{ErrorKind::cancelled, "stopped"});
    chunk.assign(ids.begin() + i * context, ids.begin() + (i + 1) * context);
    if (!lead.empty()) chunk.front() = lead.front();
    session->clear();
    Batch batch;
    batch.tokens = chunk;
    if (model->config().causal) batch.wanted = wanted;
    LISSOM_CHECK(session->run(batch));
    if (sums.commit())
      ++importance.chunks;
    else
      ++importance.skipped_chunks;
    progress.report("calibrate", i + 1, chunks);
  }
  importance.entries = sums.entries(model->graph());
  if (importance.chunks == 0)
    return bad_input("calibration: every chunk had activations that are not finite; is the checkpoint sound?");
  return importance;
}

}  // namespace lissom
