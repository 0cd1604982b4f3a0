// The factors of fold.h.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <set>

#include "base/threads.h"
#include "compress/algorithms/fold/fold.h"
#include "compress/algorithms/fold/scales.h"
#include "compress/algorithms/token_weights.h"
#include "runtime/observe.h"

namespace lissom {
namespace {

constexpr size_t kJudgeEvery = 4;   // one chunk of so many is held out
constexpr double kFewestBits = 16;  // codecs with as many lose too little

const char* name_of(FoldPair::Through through) {
  if (through == FoldPair::Through::norm) return "norm";
  return through == FoldPair::Through::attention ? "attention" : "product";
}

class Scaler {
 public:
  Scaler(const Checkpoint& checkpoint, const Plan& plan, const std::optional<Importance>& importance,
         const ScaleOptions& options, const Progress& progress)
      : checkpoint_(checkpoint), options_(options), progress_(progress), pool_(options.threads) {
    for (const PlanEntry& entry : plan.entries)
      if (!entry.kept && find_codec(entry.codec)->bits_per_weight(entry.shape) < kFewestBits)
        codecs_[entry.tensor] = find_codec(entry.codec);
    result_.folded.importance = importance;
    FoldPairs found = find_fold_pairs(checkpoint);
    for (FoldPairs::Left& left : found.left) result_.left.push_back(std::move(left.what));
    for (FoldPair& pair : found.pairs) {
      const bool gains =
          std::ranges::any_of(pair.consumers, [&](WeightId id) { return codecs_.contains(weight(id).name); });
      if (gains) pairs_.emplace(pair.label, std::move(pair));
    }
  }

  Result<ScaledModel> run(const Tokenizer& tokenizer, std::string_view text) {
    const auto begin = std::chrono::steady_clock::now();
    if (!pairs_.empty()) LISSOM_CHECK(observe(tokenizer, text));
    result_.folded.checkpoint = checkpoint_;
    result_.folded.checkpoint.tensors = transformed(checkpoint_.tensors, transforms_);
    result_.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    return std::move(result_);
  }

 private:
  struct Moments {
    SquareMatrix fit, judge;
  };

  [[nodiscard]] const Weight& weight(WeightId id) const {
    return checkpoint_.graph.weights[static_cast<size_t>(id)];
  }

  Result<void> observe(const Tokenizer& tokenizer, std::string_view text) {
    LISSOM_TRY(const CalibrationChunks cut,
               cut_calibration(checkpoint_, tokenizer, text, options_.calibration));
    const auto all = static_cast<int64_t>(cut.batches.size());
    const int64_t chunks = std::clamp<int64_t>(options_.tokens / cut.context, 1, all);
    std::vector<Batch> batches;
    for (int64_t i = 0; i < chunks; ++i) batches.push_back(cut.batches[static_cast<size_t>(i * all / chunks)]);
    finite_.assign(batches.size(), 1);
    LISSOM_TRY(const auto observer,
               runtime::Observer::create(checkpoint_, options_.calibration.runtime, cut.context));
    total_ = chunks * static_cast<int64_t>(observer->stages().size());
    begin_stage();
    const auto tap = [this](const std::string& label, const float* x, int64_t rows, int64_t cols) {
      add(label, x, rows, cols);
    };
    LISSOM_CHECK(observer->run(batches, tap, [this](size_t chunk) { return passed(chunk); }));
    result_.chunks = std::ranges::count(finite_, 1);
    if (result_.chunks == 0)
      return bad_input("--fold awq: every chunk of the text had activations that are not finite");
    return {};
  }

  /// Chunks come in order; those that were not finite do not come any more.
  void begin_stage() {
    order_.clear();
    for (size_t i = 0; i < finite_.size(); ++i)
      if (finite_[i] != 0) order_.push_back(i);
    at_ = 0;
  }

  void add(const std::string& label, const float* x, int64_t rows, int64_t cols) {
    if (!pairs_.contains(label) || at_ >= order_.size()) return;
    const std::vector<float> weights = token_weights(x, rows, cols, options_.token_limit).rows;
    if (weights.empty()) {
      bad_chunk_ = true;
      return;
    }
    Moments& moments = held_[label];
    if (moments.fit.n == 0) moments = {SquareMatrix(cols), SquareMatrix(cols)};
    if (finite_.size() == 1) {  // the end of the only chunk is held out
      const int64_t fit = std::max<int64_t>(1, rows * 3 / 4);
      add_gram(pool_, x, weights.data(), fit, moments.fit, packed_);
      if (fit < rows) add_gram(pool_, x + fit * cols, weights.data() + fit, rows - fit, moments.judge, packed_);
      return;
    }
    const size_t chunk = order_[at_];
    const bool judge =
        finite_.size() < kJudgeEvery ? chunk + 1 == finite_.size() : chunk % kJudgeEvery == kJudgeEvery - 1;
    add_gram(pool_, x, weights.data(), rows, judge ? moments.judge : moments.fit, packed_);
  }

  Result<bool> passed(size_t chunk) {
    if (progress_.stop_requested()) return tl::unexpected(Error{ErrorKind::cancelled, "stopped"});
    progress_.report("fold", std::min(++passes_, total_), total_);
    const bool finite = !bad_chunk_;
    bad_chunk_ = false;
    if (!finite) finite_[chunk] = 0;
    if (++at_ < order_.size()) return finite;
    for (auto& [label, moments] : held_) {
      mirror(moments.fit);
      mirror(moments.judge);
      LISSOM_CHECK(choose(pairs_.at(label), moments));
    }
    held_.clear();
    begin_stage();
    return finite;
  }

  Result<void> choose(const FoldPair& pair, Moments& moments) {
    ScaledInput input;
    input.columns = weight(pair.consumers.front()).shape.cols();
    if (moments.fit.n != input.columns) return {};
    input.channels = pair.channels;
    for (int64_t c = 0; c < input.columns; ++c)
      input.channel.push_back(static_cast<int32_t>(pair.channel_of(c)));
    input.fit = std::move(moments.fit);
    input.judge = std::move(moments.judge);
    for (const WeightId id : pair.consumers) {
      if (!codecs_.contains(weight(id).name)) continue;
      LISSOM_TRY(input.linears.emplace_back(), some_rows(weight(id).name));
    }
    ++result_.tried;
    const ScaleChoice choice = choose_scales(pool_, input);
    if (choice.factors.empty()) return {};
    fold(pair, choice.factors);
    result_.pairs.push_back(
        {pair.label, name_of(pair.through), choice.input_exponent, choice.weight_exponent, choice.judge_ratio});
    return {};
  }

  Result<ScaledLinear> some_rows(const std::string& name) const {
    const auto index = static_cast<size_t>(checkpoint_.tensors->find(name));
    LISSOM_TRY(const TensorView view, checkpoint_.tensors->read(index));
    const Shape& shape = view.info.shape;
    const int64_t cols = shape.cols(), step = std::max<int64_t>(1, shape.rows() / options_.rows);
    ScaledLinear linear;
    linear.codec = codecs_.at(name);
    const std::span<const std::byte> bytes[] = {view.data};
    for (int64_t r = 0; r < shape.rows() && linear.rows < options_.rows; r += step, ++linear.rows) {
      linear.weights.resize(static_cast<size_t>((linear.rows + 1) * cols));
      find_codec(view.info.type)->decode_rows(shape, bytes, r, 1, linear.weights.data() + linear.rows * cols);
    }
    checkpoint_.tensors->release(index);
    const float most = linear.codec->max_magnitude();
    if (!std::ranges::all_of(linear.weights, [&](float w) { return std::fabs(w) <= most; }))
      return bad_input(checkpoint_.tensors->origin() + ": tensor '" + name + "' holds NaN, Inf or more than " +
                       std::string(linear.codec->name()) + " can store");
    if (!result_.folded.importance) return linear;
    const auto entry = result_.folded.importance->entries.find(name);
    if (entry == result_.folded.importance->entries.end()) return linear;
    const std::vector<float> mean = entry->second.mean_square();
    if (mean.empty() || static_cast<int64_t>(mean.size()) % cols != 0)
      return bad_input("importance matrix: '" + name + "' has " + std::to_string(mean.size()) +
                       " values, the tensor " + std::to_string(cols) + " columns");
    linear.importance.resize(static_cast<size_t>(cols));  // of experts their mean
    for (size_t i = 0; i < mean.size(); ++i)
      linear.importance[i % static_cast<size_t>(cols)] +=
          mean[i] / (static_cast<float>(mean.size()) / static_cast<float>(cols));
    return linear;
  }

  void fold(const FoldPair& pair, const std::vector<float>& factors) {
    fold_factors(checkpoint_.graph, pair, factors, transforms_);
    if (!result_.folded.importance) return;
    for (const WeightId id : pair.consumers) {
      const auto entry = result_.folded.importance->entries.find(weight(id).name);
      if (entry == result_.folded.importance->entries.end()) continue;
      const std::vector<float>& columns = transforms_[weight(id).name].columns;
      std::vector<float>& sums = entry->second.sum_square;
      for (size_t i = 0; i < sums.size(); ++i) {
        const float f = columns[i % columns.size()];
        sums[i] /= f * f;
      }
    }
  }

  const Checkpoint& checkpoint_;
  const ScaleOptions& options_;
  const Progress& progress_;
  ThreadPool pool_;
  ScaledModel result_;
  std::map<std::string, const Codec*> codecs_;  ///< of the tensors that lose something
  std::map<std::string, FoldPair> pairs_;       ///< by label
  std::map<std::string, Moments> held_;
  Transforms transforms_;
  std::vector<float> packed_;
  std::vector<uint8_t> finite_;
  std::vector<size_t> order_;
  size_t at_ = 0;
  bool bad_chunk_ = false;
  int64_t passes_ = 0, total_ = 0;
};

}  // namespace

void fold_factors(const Graph& graph, const FoldPair& pair, std::span<const float> factors,
                  Transforms& transforms) {
  for (const FoldPair::Part& part : pair.producers) {
    const Weight& weight = graph.weights[static_cast<size_t>(part.weight)];
    std::vector<float>& rows = transforms[weight.name].rows;
    rows.resize(static_cast<size_t>(weight.shape.rank() == 1 ? weight.shape.elements() : weight.shape.rows()),
                1.0F);
    for (size_t c = 0; c < factors.size(); ++c) rows[static_cast<size_t>(part.first) + c] /= factors[c];
  }
  for (const WeightId id : pair.consumers) {
    const Weight& weight = graph.weights[static_cast<size_t>(id)];
    std::vector<float>& columns = transforms[weight.name].columns;
    columns.resize(static_cast<size_t>(weight.shape.cols()), 1.0F);
    for (int64_t c = 0; c < weight.shape.cols(); ++c)
      columns[static_cast<size_t>(c)] *= factors[static_cast<size_t>(pair.channel_of(c))];
  }
}

Result<ScaledModel> scale_model(const Checkpoint& checkpoint, const Plan& plan,
                                const std::optional<Importance>& importance, const Tokenizer& tokenizer,
                                std::string_view text, const ScaleOptions& options, const Progress& progress) {
  return Scaler(checkpoint, plan, importance, options, progress).run(tokenizer, text);
}

uint64_t scale_memory(const Checkpoint& checkpoint, const ScaleOptions& options) {
  // A stage is half a block: of its inputs the widest two are held, and rows of matrices to try factors on.
  std::set<uint64_t> widths;
  for (const FoldPair& pair : find_fold_pairs(checkpoint).pairs)
    widths.insert(static_cast<uint64_t>(
        checkpoint.graph.weights[static_cast<size_t>(pair.consumers.front())].shape.cols()));
  uint64_t squares = 0, taken = 0, widest = 0;
  for (auto width = widths.rbegin(); width != widths.rend() && taken < 2; ++width, ++taken) {
    squares += 2 * *width * *width * sizeof(float);
    widest = std::max(widest, *width);
  }
  const auto rows = static_cast<uint64_t>(options.rows);
  const uint64_t carried = static_cast<uint64_t>(options.tokens * checkpoint.config.width) * sizeof(float);
  return squares + 8 * rows * widest * sizeof(float) + carried;
}

}  // namespace lissom
