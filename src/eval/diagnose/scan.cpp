// What comes back when parts of the compressed model have the base's weights, measured end to end.

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <set>

#include "eval/diagnose/parts.h"
#include "eval/diagnose/patched_source.h"
#include "eval/passes.h"
#include "eval/rows.h"
#include "eval/statistics.h"

namespace lissom {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kKeptBytes = int64_t{512} << 20U;  ///< of hidden states between blocks
constexpr size_t kWorstBlocks = 3;                   ///< whose tensors are restored one by one

double since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::vector<WeightId> ids_of(const std::vector<bool>& flags) {
  std::vector<WeightId> ids;
  for (size_t i = 0; i < flags.size(); ++i)
    if (flags[i]) ids.push_back(static_cast<WeightId>(i));
  return ids;
}

/// ‖ŷ-y‖/‖y‖ of a row; 1 for what is not finite.
double relative(const float* x, const float* y, int64_t n) {
  double error = 0, norm = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double d = double{y[i]} - double{x[i]};
    error += d * d;
    norm += double{x[i]} * double{x[i]};
  }
  const double value = norm > 0 ? std::sqrt(error / norm) : (error > 0 ? 1.0 : 0.0);
  return std::isfinite(value) ? value : 1.0;
}

}  // namespace

Scanner::Scanner(StagedModel& model, const Checkpoint& base, const Windows& windows, const ScanTarget& target,
                 ThreadPool& pool, Diagnosis& found)
    : model_(model),
      base_(base),
      windows_(windows),
      target_(target),
      pool_(pool),
      found_(found),
      own_(model.source()),
      differs_(model.graph().weights.size(), false) {
  for (const TensorDifference& d : found.tensors) {
    const WeightId id = model.graph().find_weight(d.name);
    if (id >= 0) differs_[static_cast<size_t>(id)] = d.relative_error > 0 || d.not_finite > 0;
  }
}

Result<void> Scanner::prepare() {
  LISSOM_CHECK(model_.hold(model_.all()));
  const int64_t window_floats = windows_.context * model_.widest();
  const int64_t bytes = target_.windows * window_floats * static_cast<int64_t>(sizeof(float));
  const int64_t blocks = model_.blocks();
  kept_every_ = std::max<int64_t>(1, (bytes * blocks + kKeptBytes - 1) / kKeptBytes);
  std::vector<float> states(static_cast<size_t>(target_.windows * window_floats));
  std::vector<int32_t> input(static_cast<size_t>(windows_.context));
  const auto start = Clock::now();
  for (int64_t b = -1; b < blocks; ++b) {
    if (b >= 0 && b % kept_every_ == 0) kept_.push_back(states);
    const StageRange stages = b < 0 ? model_.embeddings() : model_.block(b);
    for (int64_t w = 0; w < target_.windows; ++w) {
      windows_.input(w, input);
      LISSOM_CHECK(model_.run(stages, input, states.data() + w * window_floats));
    }
  }
  block_seconds_ = since(start) / static_cast<double>(blocks);
  const auto head = Clock::now();
  LISSOM_TRY(losses_, score(states));
  head_seconds_ = since(head);
  found_.scan.measured = true;
  found_.scan.measure = target_.logits ? "kld" : "hidden";
  found_.scan.positions = static_cast<int64_t>(losses_.size());
  found_.scan.loss = mean_of(losses_).value;
  return {};
}

Result<std::vector<double>> Scanner::score(const std::vector<float>& states) {
  const int64_t window_floats = windows_.context * model_.widest();
  const int64_t width = model_.width_after(model_.from_block(0).last - 1);
  const auto state = [&](size_t row) {
    const ScanTarget::Row& r = target_.rows[row];
    return states.data() + r.window * window_floats + r.position * width;
  };
  std::vector<double> losses(target_.rows.size());
  if (!target_.logits) {
    for (size_t r = 0; r < losses.size(); ++r)
      losses[r] = relative(target_.reference.data() + r * static_cast<size_t>(width), state(r), width);
    return losses;
  }
  const int64_t vocab = model_.config().vocab;
  const int64_t most =
      std::clamp<int64_t>(kLogitBytes / (vocab * static_cast<int64_t>(sizeof(float))), 1, windows_.context);
  std::vector<float> gathered(static_cast<size_t>(most * width));
  for (size_t first = 0; first < losses.size(); first += static_cast<size_t>(most)) {
    const auto count = std::min(most, static_cast<int64_t>(losses.size() - first));
    for (int64_t r = 0; r < count; ++r)
      std::copy_n(state(first + static_cast<size_t>(r)), width, gathered.data() + r * width);
    LISSOM_TRY(const std::span<const float> logits, model_.logits(gathered.data(), count));
    pool_.parallel_for(count, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) {
        const size_t row = first + static_cast<size_t>(r);
        const RowScore s = score_rows(model_.target(), logits.data() + r * vocab,
                                      target_.reference.data() + row * static_cast<size_t>(vocab), vocab, 0);
        losses[row] = s.finite ? s.kld : INFINITY;
      }
    });
  }
  return losses;
}

Result<std::vector<double>> Scanner::losses(const std::vector<WeightId>& restored) {
  std::set<WeightId> changed(restored.begin(), restored.end());
  changed.insert(restored_.begin(), restored_.end());
  std::vector<std::string> names;
  names.reserve(restored.size());
  for (const WeightId id : restored) names.push_back(model_.graph().weights[static_cast<size_t>(id)].name);
  LISSOM_CHECK(model_.use(std::make_shared<PatchedSource>(own_, base_.tensors, names),
                          {changed.begin(), changed.end()}));
  restored_ = restored;
  // What comes before the first changed weight is as it was.
  int64_t first = model_.blocks();
  const auto reads = [&](StageRange stages) {
    const std::vector<bool> used = model_.weights_of(stages);
    return std::ranges::any_of(restored, [&](WeightId id) { return used[static_cast<size_t>(id)]; });
  };
  for (int64_t b = model_.blocks(); b-- > 0;)
    if (reads(model_.block(b))) first = b;
  const bool from_start = reads(model_.embeddings());
  const int64_t kept = std::min<int64_t>(first / kept_every_, static_cast<int64_t>(kept_.size()) - 1);
  std::vector<float> states = kept_[static_cast<size_t>(kept)];
  const StageRange stages =
      from_start ? StageRange{0, model_.head().first} : model_.from_block(kept * kept_every_);
  const int64_t window_floats = windows_.context * model_.widest();
  std::vector<int32_t> input(static_cast<size_t>(windows_.context));
  for (int64_t w = 0; w < target_.windows; ++w) {
    windows_.input(w, input);
    LISSOM_CHECK(model_.run(stages, input, states.data() + w * window_floats));
  }
  return score(states);
}

Result<double> Scanner::restored(const std::vector<WeightId>& weights) {
  LISSOM_TRY(const std::vector<double> rows, losses(weights));
  return mean_of(rows).value;
}

std::vector<Scanner::Item> Scanner::parts() const {
  std::vector<Item> items;
  std::set<std::vector<WeightId>> seen;
  const auto add = [&](int64_t block, std::vector<bool> used) {
    for (size_t i = 0; i < used.size(); ++i) used[i] = used[i] && differs_[i];
    std::vector<WeightId> ids = ids_of(used);
    // Blocks that share their weights are one.
    if (!ids.empty() && seen.insert(ids).second) items.push_back({part_name(block), block, std::move(ids)});
  };
  const std::vector<bool> embedding = model_.weights_of(model_.embeddings());
  add(kEmbeddings, embedding);
  for (int64_t b = 0; b < model_.blocks(); ++b) add(b, model_.weights_of(model_.block(b)));
  std::vector<bool> head = model_.weights_of(model_.head());
  for (size_t i = 0; i < head.size(); ++i) head[i] = head[i] && !embedding[i];
  add(kHead, std::move(head));

  const auto suspicion = [&](const Item& item) {
    double most = 0;
    for (const TensorDifference& t : found_.tensors)
      if (t.outlier && t.block == item.block) most = std::max(most, 1e6 + t.to_peers);
    for (const LayerDifference& l : found_.layers)
      if (l.block == item.block) most = std::max(most, l.to_peers);
    return most;
  };
  std::ranges::stable_sort(items, [&](const Item& a, const Item& b) { return suspicion(a) > suspicion(b); });
  return items;
}

std::vector<Scanner::Item> Scanner::tensors(bool all) const {
  std::vector<PartGain> worst = found_.scan.parts;
  std::ranges::stable_sort(worst, [](const PartGain& a, const PartGain& b) { return a.gain > b.gain; });
  worst.resize(std::min(worst.size(), kWorstBlocks));
  std::vector<Item> items;
  std::set<WeightId> seen;
  const auto add = [&](const TensorDifference& t) {
    const WeightId id = model_.graph().find_weight(t.name);
    if (id >= 0 && differs_[static_cast<size_t>(id)] && seen.insert(id).second)
      items.push_back({t.name, t.block, {id}});
  };
  for (const TensorDifference& t : found_.tensors)
    if (t.outlier) add(t);
  for (const PartGain& part : worst)
    for (const TensorDifference& t : found_.tensors)
      if (t.block == part.block && part.gain > 0) add(t);
  if (all)
    for (const TensorDifference& t : found_.tensors) add(t);
  return items;
}

double Scanner::seconds_of(const Item& item) const {
  const int64_t blocks = model_.blocks();
  const int64_t first = item.block == kHead ? blocks : std::max<int64_t>(item.block, 0);
  const int64_t kept = first / kept_every_;
  return head_seconds_ + block_seconds_ * static_cast<double>(blocks - kept * kept_every_);
}

Result<bool> Scanner::measure(const std::vector<Item>& items, const char* stage, double until,
                              const Progress& progress, std::vector<PartGain>& out) {
  const auto start = Clock::now();
  for (size_t i = 0; i < items.size(); ++i) {
    found_.interrupted = found_.interrupted || progress.stop_requested();
    if (found_.interrupted || since(start) > until) return false;
    LISSOM_TRY(const std::vector<double> rows, losses(items[i].weights));
    std::vector<double> gains(rows.size());
    for (size_t r = 0; r < rows.size(); ++r) gains[r] = losses_[r] - rows[r];
    const Estimate gain = mean_of(gains);
    PartGain part{items[i].name, items[i].block, mean_of(rows).value, gain.value, gain.error, 0};
    part.share = found_.scan.loss > 0 ? gain.value / found_.scan.loss : 0;
    out.push_back(part);
    progress.report(stage, static_cast<int64_t>(i) + 1, static_cast<int64_t>(items.size()),
                    fmt::format("{} {:.0f}%", part.name, 100 * part.share));
  }
  return true;
}

Result<void> Scanner::run(const DiagnoseOptions& options, const Progress& progress) {
  const auto start = Clock::now();
  LISSOM_CHECK(prepare());
  Scan& scan = found_.scan;
  const std::vector<Item> blocks = parts();
  for (const Item& item : blocks) scan.estimated_seconds += seconds_of(item);
  const auto each = static_cast<double>(found_.tensors.size()) / static_cast<double>(model_.blocks() + 1);
  const double tensor_seconds =
      options.all_tensors ? scan.estimated_seconds * each
                          : static_cast<double>(std::min(kWorstBlocks, blocks.size())) * each *
                                (head_seconds_ + block_seconds_ * static_cast<double>(model_.blocks()) / 2);
  scan.estimated_seconds += tensor_seconds;
  progress.say(LogLevel::info, fmt::format("restoring {} parts, then tensors: about {:.0f} s, at most {:.0f} s",
                                           blocks.size(), scan.estimated_seconds, options.scan_seconds));
  LISSOM_TRY(bool done, measure(blocks, "restore parts", options.scan_seconds, progress, scan.parts));
  if (done) {
    LISSOM_TRY(done, measure(tensors(options.all_tensors), "restore tensors",
                             options.scan_seconds - since(start), progress, scan.tensors));
  }
  scan.complete = done;
  scan.seconds = since(start);
  return {};
}

}  // namespace lissom
