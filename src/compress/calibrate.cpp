#include "compress/calibrate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

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

std::map<std::string, Importance::Entry> SquareSums::entries(const Graph& graph) const {
  std::map<std::string, Importance::Entry> out;
  for (const Op& op : graph.ops) {
    const auto* linear = std::get_if<LinearOp>(&op);
    if (linear == nullptr) continue;
    const auto sum = total_.find(linear->input_label);
    if (sum == total_.end() || sum->second.tokens == 0) continue;
    Importance::Entry& entry = out[graph.weights[static_cast<size_t>(linear->weight)].name];
    entry.sum_square.assign(sum->second.square.begin(), sum->second.square.end());
    entry.tokens = sum->second.tokens;
  }
  return out;
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
