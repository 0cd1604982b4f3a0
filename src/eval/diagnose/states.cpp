// Hidden states and logits of the two, side by side.

#include <algorithm>
#include <cmath>
#include <numeric>

#include "eval/diagnose/parts.h"
#include "eval/passes.h"
#include "eval/peak_memory.h"
#include "eval/rows.h"
#include "eval/statistics.h"

namespace lissom {
namespace {

constexpr int64_t kStateBytes = int64_t{256} << 20U;      ///< of all windows that go through together
constexpr int64_t kReferenceBytes = int64_t{256} << 20U;  ///< of a scan's target
constexpr int64_t kScanWindows = 4;

/// Of one token.
struct RowDifference {
  double cosine = 1, error = 0, ratio = 1, norm = 0;
  bool finite = true;
};

/// x̂ - minus against x - minus; minus may be null.
RowDifference row_difference(const float* x, const float* y, const float* minus, int64_t n) {
  double error = 0, xx = 0, yy = 0, xy = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double m = minus != nullptr ? double{minus[i]} : 0.0;
    const double a = double{x[i]} - m, b = double{y[i]} - m;
    error += (b - a) * (b - a);
    xx += a * a;
    yy += b * b;
    xy += a * b;
  }
  RowDifference d;
  d.finite = std::isfinite(error) && std::isfinite(yy);
  if (!d.finite) return d;
  d.norm = std::sqrt(xx);
  if (xx > 0) {
    d.cosine = yy > 0 ? xy / std::sqrt(xx * yy) : 0.0;
    d.error = std::sqrt(error / xx);
    d.ratio = std::sqrt(yy / xx);
  } else if (yy > 0) {
    d.cosine = 0;
    d.error = 1;
  }
  return d;
}

/// Sums over tokens; the means in the end.
struct Totals {
  RowDifference state{0, 0, 0, 0, true}, own{0, 0, 0, 0, true};

  static void add(RowDifference& sum, const RowDifference& d) {
    sum.cosine += d.cosine;
    sum.error += d.error;
    sum.ratio += d.ratio;
    sum.norm += d.norm;
    sum.finite = sum.finite && d.finite;
  }
  static StateDifference mean(const RowDifference& sum, double n) {
    return {sum.cosine / n, sum.error / n, sum.ratio / n, sum.finite};
  }
};

/// Windows on their way through the two models.
class Walk {
 public:
  Walk(const Pair& pair, const Windows& windows, ThreadPool& pool, const Progress& progress, Diagnosis& found,
       ScanTarget& target)
      : pair_(pair),
        windows_(windows),
        pool_(pool),
        progress_(progress),
        found_(found),
        target_(target),
        decoder_(!pair.base.head().empty() && pair.base.config().causal && pair.base.config().labels.empty()),
        totals_(static_cast<size_t>(pair.base.blocks()) + 1),
        input_(static_cast<size_t>(windows.context)) {}

  Result<void> run() {
    const int64_t window_bytes =
        4 * windows_.context * pair_.base.widest() * static_cast<int64_t>(sizeof(float));
    const int64_t together =
        std::clamp<int64_t>(kStateBytes / std::max<int64_t>(window_bytes, 1), 1, windows_.count);
    choose_target();
    for (int64_t first = 0; first < windows_.count && !found_.interrupted; first += together)
      LISSOM_CHECK(group(first, std::min(together, windows_.count - first)));
    finish();
    return {};
  }

 private:
  [[nodiscard]] float* at(std::vector<float>& states, int64_t window) const {
    return states.data() + window * windows_.context * pair_.base.widest();
  }

  /// Positions of the first windows, evenly thinned to what memory allows.
  void choose_target() {
    const int64_t width = decoder_ ? pair_.base.config().vocab : pair_.base.config().width;
    target_.logits = decoder_;
    target_.windows = std::min(windows_.count, kScanWindows);
    const int64_t begin = decoder_ ? windows_.first_scored() : 0;
    const int64_t end = decoder_ ? windows_.context - 1 : windows_.context;
    const int64_t most = std::max<int64_t>(kReferenceBytes / (width * static_cast<int64_t>(sizeof(float))), 1);
    const int64_t stride = (target_.windows * (end - begin) + most - 1) / most;
    for (int64_t i = 0; i < target_.windows * (end - begin); i += stride)
      target_.rows.push_back({i / (end - begin), begin + i % (end - begin)});
    target_.reference.resize(target_.rows.size() * static_cast<size_t>(width));
  }

  Result<void> group(int64_t first, int64_t count) {
    const auto floats = static_cast<size_t>(count * windows_.context * pair_.base.widest());
    for (auto* states : {&base_, &model_, &own_, &before_}) states->assign(floats, 0.0F);
    const int64_t blocks = pair_.base.blocks();
    LISSOM_CHECK(part(pair_.base.embeddings(), 0, first, count));
    for (int64_t b = 0; b < blocks && !found_.interrupted; ++b)
      LISSOM_CHECK(part(pair_.base.block(b), b + 1, first, count));
    if (found_.interrupted) return {};
    if (decoder_) {
      LISSOM_CHECK(score(first, count));
    } else {
      keep_hidden(first, count);
    }
    if (found_.interrupted) return {};
    found_.windows += count;
    found_.tokens += count * windows_.context;
    return {};
  }

  /// The embeddings (index 0) or a block through both, and the compressed one on the base's states.
  Result<void> part(StageRange stages, size_t index, int64_t first, int64_t count) {
    before_ = base_;
    own_ = base_;
    for (size_t s = stages.first; s < stages.last; ++s) {
      if (progress_.stop_requested()) {
        found_.interrupted = true;
        return {};
      }
      const StageRange one{s, s + 1};
      LISSOM_CHECK(pair_.base.hold(one));
      LISSOM_CHECK(pair_.model.hold(one));
      for (int64_t w = 0; w < count; ++w) {
        windows_.input(first + w, input_);
        LISSOM_CHECK(pair_.base.run(one, input_, at(base_, w)));
        LISSOM_CHECK(pair_.model.run(one, input_, at(model_, w)));
        if (index > 0) LISSOM_CHECK(pair_.model.run(one, input_, at(own_, w)));
      }
    }
    if (index == 0) own_ = model_;
    LISSOM_CHECK(compare(pair_.base.width_after(stages.last - 1), index, count));
    progress_.report("layers", static_cast<int64_t>(index) + 1, pair_.base.blocks() + 1,
                     part_name(static_cast<int64_t>(index) - 1));
    return {};
  }

  Result<void> compare(int64_t width, size_t index, int64_t count) {
    const int64_t rows = count * windows_.context;
    std::vector<RowDifference> state(static_cast<size_t>(rows)), own(state);
    pool_.parallel_for(rows, 16, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) {
        // States lie close together, whatever the widest is.
        const int64_t window = r / windows_.context, token = r % windows_.context;
        const auto row = [&](std::vector<float>& states) { return at(states, window) + token * width; };
        state[static_cast<size_t>(r)] = row_difference(row(base_), row(model_), nullptr, width);
        // The embeddings add to nothing; nor can a block whose input has another width.
        const float* before = index > 0 && width_before_ == width ? row(before_) : nullptr;
        own[static_cast<size_t>(r)] = row_difference(row(base_), row(own_), before, width);
      }
    });
    width_before_ = width;
    for (size_t r = 0; r < state.size(); ++r) {
      Totals::add(totals_[index].state, state[r]);
      Totals::add(totals_[index].own, own[r]);
    }
    const auto n = static_cast<int64_t>(base_.size());
    for (int64_t i = 0; i < n; ++i)
      if (!std::isfinite(base_[static_cast<size_t>(i)]))
        return bad_input("the base's hidden states are not finite after " +
                         part_name(static_cast<int64_t>(index) - 1) + ": the base is broken");
    rows_[index] += static_cast<double>(rows);
    return {};
  }

  Result<void> score(int64_t first, int64_t count) {
    LISSOM_CHECK(pair_.base.hold(pair_.base.head()));
    LISSOM_CHECK(pair_.model.hold(pair_.model.head()));
    const int64_t vocab = pair_.base.config().vocab, width = width_before_;
    const int64_t most = std::max<int64_t>(kLogitBytes / (vocab * static_cast<int64_t>(sizeof(float))), 1);
    const int64_t begin = windows_.first_scored(), end = windows_.context - 1;
    for (int64_t w = 0; w < count; ++w) {
      for (int64_t at_row = begin; at_row < end; at_row += most) {
        if (progress_.stop_requested()) {
          found_.interrupted = true;
          return {};
        }
        const int64_t rows = std::min(most, end - at_row);
        LISSOM_TRY(const auto x, pair_.base.logits(at(base_, w) + at_row * width, rows));
        LISSOM_TRY(const auto y, pair_.model.logits(at(model_, w) + at_row * width, rows));
        score_rows_of(x, y, first + w, at_row, rows);
      }
    }
    return {};
  }

  void score_rows_of(std::span<const float> base, std::span<const float> model, int64_t window,
                     int64_t position, int64_t count) {
    const int64_t vocab = pair_.base.config().vocab;
    struct Score {
      RowScore row;
      double cosine = 1, square = 0;
    };
    std::vector<Score> scores(static_cast<size_t>(count));
    pool_.parallel_for(count, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) {
        const float *x = base.data() + r * vocab, *y = model.data() + r * vocab;
        Score& s = scores[static_cast<size_t>(r)];
        s.row = score_rows(pair_.base.target(), y, x, vocab, windows_.target(window, position + r));
        double sx = 0, sy = 0, xx = 0, yy = 0, xy = 0;
        for (int64_t i = 0; i < vocab; ++i) {
          const double a = double{x[i]}, b = double{y[i]};
          sx += a;
          sy += b;
          xx += a * a;
          yy += b * b;
          xy += a * b;
        }
        const auto n = static_cast<double>(vocab);
        const double cxx = xx - sx * sx / n, cyy = yy - sy * sy / n, cxy = xy - sx * sy / n;
        s.cosine = cxx > 0 && cyy > 0 ? cxy / std::sqrt(cxx * cyy) : cxx <= 0 && cyy <= 0 ? 1.0 : 0.0;
        s.square = std::max(0.0, cxx + cyy - 2 * cxy) / n;
      }
    });
    for (int64_t r = 0; r < count; ++r) {
      keep_reference(window, position + r, base.data() + r * vocab, vocab);
      const Score& s = scores[static_cast<size_t>(r)];
      if (!s.row.finite) {
        finite_logits_ = false;
        continue;
      }
      tokens_.nll.push_back(s.row.nll);
      tokens_.nll_base.push_back(s.row.nll_base);
      tokens_.kld.push_back(s.row.kld);
      tokens_.same_top += s.row.top == s.row.top_base ? 1 : 0;
      cosine_ += s.cosine;
      square_ += s.square;
    }
  }

  void keep_hidden(int64_t first, int64_t count) {
    for (int64_t w = 0; w < count; ++w)
      for (int64_t p = 0; p < windows_.context; ++p)
        keep_reference(first + w, p, at(base_, w) + p * width_before_, width_before_);
  }
  /// Rows come in the order of the target's.
  void keep_reference(int64_t window, int64_t position, const float* row, int64_t width) {
    if (kept_ >= target_.rows.size() || target_.rows[kept_].window != window ||
        target_.rows[kept_].position != position)
      return;
    std::copy_n(row, width, target_.reference.data() + kept_ * static_cast<size_t>(width));
    ++kept_;
  }

  void finish() {
    for (size_t i = 0; i < totals_.size(); ++i) {
      if (rows_[i] == 0) break;
      LayerDifference layer;
      layer.block = static_cast<int64_t>(i) - 1;
      layer.state = Totals::mean(totals_[i].state, rows_[i]);
      layer.own = Totals::mean(totals_[i].own, rows_[i]);
      layer.norm = totals_[i].state.norm / rows_[i];
      found_.layers.push_back(layer);
    }
    if (kept_ < target_.rows.size()) target_.rows.clear();  // interrupted
    if (tokens_.nll.empty() || !finite_logits_) return;
    const auto n = static_cast<double>(tokens_.nll.size());
    found_.logits.measured = true;
    found_.logits.cosine = cosine_ / n;
    found_.logits.mse = square_ / n;
    found_.logits.eval = lissom::summarize(tokens_);
    found_.logits.eval.chunks = found_.windows;
    found_.logits.eval.peak_rss = peak_memory();
  }

  const Pair& pair_;
  const Windows& windows_;
  ThreadPool& pool_;
  const Progress& progress_;
  Diagnosis& found_;
  ScanTarget& target_;
  bool decoder_;
  std::vector<Totals> totals_;
  std::vector<double> rows_ = std::vector<double>(totals_.size(), 0.0);
  std::vector<int32_t> input_;
  std::vector<float> base_, model_, own_, before_;
  int64_t width_before_ = 0;
  TokenScores tokens_;
  double cosine_ = 0, square_ = 0;
  bool finite_logits_ = true;
  size_t kept_ = 0;
};

}  // namespace

Result<void> compare_states(const Pair& pair, const Windows& windows, ThreadPool& pool,
                            const Progress& progress, Diagnosis& found, ScanTarget& target) {
  return Walk(pair, windows, pool, progress, found, target).run();
}

}  // namespace lissom
