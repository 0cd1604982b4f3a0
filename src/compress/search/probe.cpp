#include "compress/search/probe.h"

#include <algorithm>
#include <cmath>

#include "compress/encode.h"
#include "eval/passes.h"
#include "eval/rows.h"
#include "eval/statistics.h"
#include "lissom/codec.h"

namespace lissom::search {
namespace {

constexpr int64_t kReferenceBytes = int64_t{256} << 20U;  ///< of logits, for each text
constexpr int64_t kKeptBytes = int64_t{256} << 20U;       ///< of hidden states between blocks
constexpr size_t kFewWindows = 4;
/// Stands for a divergence that is not finite: worse than any other, and a number for the journal.
constexpr double kWorst = 1e3;

/// The checkpoint's tensors, some of them replaced.
class Replaced final : public TensorSource {
 public:
  Replaced(std::shared_ptr<const TensorSource> source, Variants variants)
      : source_(std::move(source)),
        variants_(std::move(variants)),
        infos_(source_->tensors().begin(), source_->tensors().end()),
        by_index_(infos_.size(), nullptr) {
    for (const auto& [name, variant] : variants_) {
      const int64_t index = source_->find(name);
      if (index < 0) continue;
      TensorInfo& info = infos_[static_cast<size_t>(index)];
      info.type = variant->decoded ? "F32" : variant->codec;
      info.bytes = variant->decoded ? static_cast<uint64_t>(info.shape.elements()) * sizeof(float)
                                    : variant->bytes.size();
      by_index_[static_cast<size_t>(index)] = variant.get();
    }
  }
  [[nodiscard]] std::span<const TensorInfo> tensors() const override { return infos_; }
  [[nodiscard]] Result<TensorView> read(size_t index) const override {
    const Variant* variant = by_index_[index];
    if (variant == nullptr) return source_->read(index);
    const TensorInfo& info = infos_[index];
    const std::span<const std::byte> bytes(variant->bytes);
    if (!variant->decoded) return TensorView{info, bytes, variants_.at(info.name)};
    auto values = std::make_shared<std::vector<float>>(static_cast<size_t>(info.shape.elements()));
    find_codec(variant->codec)->decode_rows(info.shape, {&bytes, 1}, 0, info.shape.rows(), values->data());
    const auto data = std::as_bytes(std::span(*values));
    return TensorView{info, data, std::move(values)};
  }
  void release(size_t index) const override {
    if (by_index_[index] == nullptr) source_->release(index);
  }
  [[nodiscard]] std::string origin() const override { return source_->origin(); }
  [[nodiscard]] int64_t find(std::string_view name) const override { return source_->find(name); }

 private:
  std::shared_ptr<const TensorSource> source_;
  Variants variants_;
  std::vector<TensorInfo> infos_;
  std::vector<const Variant*> by_index_;
};

/// Names whose variants are not the same.
std::vector<std::string> differences(const Variants& a, const Variants& b) {
  std::vector<std::string> names;
  for (const auto& [name, variant] : a)
    if (const auto it = b.find(name); it == b.end() || it->second != variant) names.push_back(name);
  for (const auto& [name, variant] : b)
    if (!a.contains(name)) names.push_back(name);
  return names;
}

}  // namespace

Result<std::shared_ptr<const Variant>> encode_variant(const Checkpoint& checkpoint, size_t index,
                                                      const std::string& codec, bool decoded,
                                                      const Means& means, ThreadPool& pool) {
  Plan plan;
  plan.entries.resize(index + 1);
  const TensorInfo& info = checkpoint.tensors->tensors()[index];
  PlanEntry& entry = plan.entries[index];
  entry.tensor = info.name;
  entry.shape = info.shape;
  entry.from = info.type;
  entry.codec = codec;
  entry.bytes = find_block_codec(codec)->components(info.shape).front().bytes;
  Encoder encoder(*checkpoint.tensors, plan, means, pool, info.shape.elements(), false);
  encoder.seek(index);
  Slab slab;
  LISSOM_CHECK(encoder.next(slab));
  return std::make_shared<const Variant>(Variant{codec, std::move(slab.bytes), decoded});
}

void choose_windows(int64_t measure, int64_t verify, ProbeTexts& texts) {
  const int64_t have = texts.windows.count;
  texts.measure.clear();
  texts.verify.clear();
  if (have == 1) {
    texts.measure = texts.verify = {0};
    return;
  }
  const int64_t wanted = measure + verify;
  if (wanted > have) measure = std::clamp<int64_t>(have * measure / wanted, 1, have - 1);
  const int64_t taken = std::min(wanted, have);
  for (int64_t i = 0; i < taken; ++i) {
    const bool measures = (i + 1) * measure / taken > i * measure / taken;
    (measures ? texts.measure : texts.verify).push_back(i * have / taken);
  }
}

Result<std::unique_ptr<Probe>> Probe::make(const Checkpoint& checkpoint, ProbeTexts texts, int threads,
                                           ThreadPool& pool, const Progress& progress) {
  std::unique_ptr<Probe> probe(new Probe(checkpoint, std::move(texts), pool));
  RuntimeOptions options;
  options.threads = threads;
  options.bf16 = true;
  LISSOM_TRY(probe->model_, StagedModel::make(checkpoint, options, probe->texts_.windows.context, pool));
  StagedModel& model = *probe->model_;
  if (model.head().empty() || !checkpoint.config.causal || !checkpoint.config.labels.empty())
    return unsupported(checkpoint.path.string() + ": this model predicts no next token");
  LISSOM_CHECK(model.hold(model.all()));
  probe->first_block_.assign(model.graph().weights.size(), model.blocks());
  const auto first = [&](StageRange stages, int64_t block) {
    const std::vector<bool> used = model.weights_of(stages);
    for (size_t i = 0; i < used.size(); ++i)
      if (used[i]) probe->first_block_[i] = block;
  };
  for (int64_t b = model.blocks(); b-- > 0;) first(model.block(b), b);
  first(model.embeddings(), -1);
  progress.report("search", 0, 1, "running the source");
  probe->measure_.windows = probe->texts_.measure;
  probe->verify_.windows = probe->texts_.verify;
  LISSOM_CHECK(probe->refer(probe->verify_));
  LISSOM_CHECK(probe->refer(probe->measure_));
  return probe;
}

void Probe::choose_rows(Judge& judge) const {
  const Windows& windows = texts_.windows;
  const int64_t begin = windows.first_scored(), scored = windows.scored();
  const int64_t row_bytes = model_->config().vocab * static_cast<int64_t>(sizeof(float));
  const int64_t most = std::max<int64_t>(kReferenceBytes / row_bytes, 1);
  const int64_t all = static_cast<int64_t>(judge.windows.size()) * scored;
  const int64_t stride = (all + most - 1) / most;
  for (int64_t i = 0; i < all; i += stride)
    judge.rows.push_back({static_cast<size_t>(i / scored), begin + i % scored});
}

Result<void> Probe::refer(Judge& judge) {
  choose_rows(judge);
  LISSOM_TRY(const std::vector<float> states, states_of(judge, &judge == &measure_));
  const int64_t vocab = model_->config().vocab;
  judge.reference.resize(judge.rows.size() * static_cast<size_t>(vocab));
  bool finite = true;
  LISSOM_CHECK(logits(judge, states, [&](size_t first, std::span<const float> values) {
    finite = finite && std::ranges::all_of(values, [](float v) { return std::isfinite(v); });
    std::ranges::copy(values, judge.reference.begin() + static_cast<ptrdiff_t>(first) * vocab);
  }));
  if (!finite) return bad_input(checkpoint_.path.string() + ": the model's logits are not finite");
  return {};
}

Result<void> Probe::run(const Judge& judge, StageRange stages, std::vector<float>& states) {
  std::vector<int32_t> input(static_cast<size_t>(texts_.windows.context));
  for (size_t w = 0; w < judge.windows.size(); ++w) {
    texts_.windows.input(judge.windows[w], input);
    LISSOM_CHECK(model_->run(stages, input, states.data() + static_cast<int64_t>(w) * window_floats()));
  }
  return {};
}

/// Last hidden states from the beginning; `keep`: fills kept_ on the way.
Result<std::vector<float>> Probe::states_of(const Judge& judge, bool keep) {
  std::vector<float> states(judge.windows.size() * static_cast<size_t>(window_floats()));
  if (!keep) {
    LISSOM_CHECK(run(judge, {0, model_->head().first}, states));
    return states;
  }
  const int64_t blocks = model_->blocks();
  const auto bytes = static_cast<int64_t>(states.size() * sizeof(float));
  kept_every_ = std::max<int64_t>(1, (bytes * blocks + kKeptBytes - 1) / kKeptBytes);
  kept_.clear();
  LISSOM_CHECK(run(judge, model_->embeddings(), states));
  for (int64_t b = 0; b < blocks; ++b) {
    if (b % kept_every_ == 0) kept_.push_back(states);
    LISSOM_CHECK(run(judge, model_->block(b), states));
  }
  return states;
}

/// Gives f the logits of some rows at a time: the first row's number, and rows × vocab.
Result<void> Probe::logits(const Judge& judge, const std::vector<float>& states,
                           const std::function<void(size_t, std::span<const float>)>& f) {
  const int64_t vocab = model_->config().vocab, width = model_->width_after(model_->head().first - 1);
  const int64_t most = std::clamp<int64_t>(kLogitBytes / (vocab * static_cast<int64_t>(sizeof(float))), 1,
                                           texts_.windows.context);
  std::vector<float> gathered(static_cast<size_t>(most * width));
  for (size_t first = 0; first < judge.rows.size(); first += static_cast<size_t>(most)) {
    const auto count = std::min(most, static_cast<int64_t>(judge.rows.size() - first));
    for (int64_t r = 0; r < count; ++r) {
      const Row& row = judge.rows[first + static_cast<size_t>(r)];
      std::copy_n(states.data() + static_cast<int64_t>(row.window) * window_floats() + row.position * width,
                  width, gathered.data() + r * width);
    }
    LISSOM_TRY(const std::span<const float> values, model_->logits(gathered.data(), count));
    f(first, values);
  }
  return {};
}

Result<std::vector<double>> Probe::score(const Judge& judge, const std::vector<float>& states) {
  const int64_t vocab = model_->config().vocab;
  std::vector<double> losses(judge.rows.size());
  LISSOM_CHECK(logits(judge, states, [&](size_t first, std::span<const float> values) {
    pool_.parallel_for(static_cast<int64_t>(values.size()) / vocab, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) {
        const size_t row = first + static_cast<size_t>(r);
        const float* base = judge.reference.data() + static_cast<int64_t>(row) * vocab;
        const RowScore s = score_rows(model_->target(), values.data() + r * vocab, base, vocab, 0);
        losses[row] = s.finite ? std::min(s.kld, kWorst) : kWorst;
      }
    });
  }));
  return losses;
}

int64_t Probe::first_difference(const Variants& a, const Variants& b) const {
  int64_t first = model_->blocks();
  for (const std::string& name : differences(a, b))
    if (const WeightId id = model_->graph().find_weight(name); id >= 0)
      first = std::min(first, first_block_[static_cast<size_t>(id)]);
  return first;
}

Result<void> Probe::apply(const Variants& variants) {
  std::vector<WeightId> changed;
  for (const std::string& name : differences(now_, variants))
    if (const WeightId id = model_->graph().find_weight(name); id >= 0) changed.push_back(id);
  now_ = variants;
  if (changed.empty()) return {};
  return model_->use(std::make_shared<Replaced>(checkpoint_.tensors, variants), changed);
}

Result<void> Probe::stay_near(const Variants& variants) {
  if (differences(near_, variants).empty()) return {};
  LISSOM_CHECK(apply(variants));
  near_ = variants;
  LISSOM_CHECK(states_of(measure_, true));
  return {};
}

Result<Estimate> Probe::divergence(Text text, const Variants& variants) {
  LISSOM_CHECK(apply(variants));
  const Judge& judge = text == Text::verify ? verify_ : measure_;
  std::vector<float> states;
  const int64_t first = text == Text::verify ? -1 : first_difference(near_, variants);
  if (first < 0) {
    LISSOM_TRY(states, states_of(judge, false));
  } else {
    const int64_t kept = std::min<int64_t>(first / kept_every_, static_cast<int64_t>(kept_.size()) - 1);
    states = kept_[static_cast<size_t>(kept)];
    LISSOM_CHECK(run(judge, model_->from_block(kept * kept_every_), states));
  }
  LISSOM_TRY(const std::vector<double> losses, score(judge, states));
  return estimate(judge, losses);
}

/// Positions of one window are alike: where there are some windows, the error is that of their means.
Estimate Probe::estimate(const Judge& judge, const std::vector<double>& losses) {
  Estimate all = mean_of(losses);
  if (judge.windows.size() < kFewWindows) return all;
  std::vector<double> sums(judge.windows.size(), 0.0), counts(judge.windows.size(), 0.0);
  for (size_t r = 0; r < losses.size(); ++r) {
    sums[judge.rows[r].window] += losses[r];
    counts[judge.rows[r].window] += 1;
  }
  std::vector<double> means;
  for (size_t w = 0; w < sums.size(); ++w)
    if (counts[w] > 0) means.push_back(sums[w] / counts[w]);
  all.error = std::max(all.error, mean_of(means).error);
  return all;
}

}  // namespace lissom::search
