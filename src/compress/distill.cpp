#include "compress/distill.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <numbers>
#include <numeric>
#include <optional>

#include "base/threads.h"
#include "compress/encode.h"
#include "compress/source.h"
#include "lissom/codec.h"
#include "lissom/gguf.h"

namespace lissom {
namespace {

namespace fs = std::filesystem;

// Adam (Kingma and Ba 2015). The short memory of squares fits runs of a hundred steps.
constexpr float kMomentum = 0.9F, kSquares = 0.95F, kTiny = 1e-12F;
constexpr int64_t kWarmup = 5;
/// One-dimensional tensors act on every token alike, so they go more slowly.
constexpr double kVectorRate = 0.3;
/// Divergence (nats) from which on the rate is the whole one.
constexpr double kFullRateKld = 0.15;
constexpr int64_t kGrain = int64_t{1} << 15;  // weights that a thread takes at a time
/// Windows by which what was learned is held to what it began with.
constexpr int64_t kJudged = 6;
/// A codec of fewer bits keeps the grid that it began with: one that is chosen anew at each step moves under
/// the codes that were learned. Where the steps of a grid are as fine as with 8 bits, its scale may follow the
/// latents.
constexpr int kGridBits = 8;

/// A tensor that is learned.
struct Learned {
  WeightId weight = -1;
  const PlanEntry* entry = nullptr;
  const BlockCodec* codec = nullptr;
  const std::vector<float>* mean = nullptr;  ///< importance, or null
  double scale = 0;                          ///< of its steps
  bool keeps_grid = false;                   ///< that of `bytes`
  bool frozen = false;                       ///< `bytes` stay as they are, and there are no latents
  std::vector<float> latent, momentum, squares;
  std::vector<std::byte> bytes;  ///< what the file will hold
  std::vector<std::byte> begun;  ///< what it would hold if nothing were learned

  [[nodiscard]] int64_t blocks_a_row() const { return entry->shape.cols() / codec->block_weights(); }
  /// The importance of a row's columns, or null.
  [[nodiscard]] const float* importance_of(int64_t row) const {
    if (mean == nullptr) return nullptr;
    const Shape& shape = entry->shape;
    const bool own = static_cast<int64_t>(mean->size()) > shape.cols();  // each expert's
    const int64_t rows_of_matrix = std::max<int64_t>(1, shape.rank() == 3 ? shape[1] : shape.rows());
    return mean->data() + (own ? row / rows_of_matrix * shape.cols() : 0);
  }
};

std::span<const std::byte> bytes_of(const std::vector<float>& values) {
  return std::as_bytes(std::span(values));
}

/// The row's blocks of t.bytes from its latents.
void encode_row(Learned& t, int64_t row) {
  const int64_t cols = t.entry->shape.cols(), blocks = t.blocks_a_row(), size = t.codec->block_weights();
  const float *latent = t.latent.data() + row * cols, *importance = t.importance_of(row);
  std::byte* bytes = t.bytes.data() + row * blocks * t.codec->block_bytes();
  if (!t.keeps_grid) return t.codec->encode_blocks(latent, importance, blocks, blocks, bytes);
  BlockGrid grid;
  std::vector<int8_t> codes(static_cast<size_t>(size));
  for (int64_t b = 0; b < blocks; ++b, bytes += t.codec->block_bytes()) {
    t.codec->unpack(bytes, grid, codes.data());
    t.codec->round(grid, 0, static_cast<int>(size), latent + b * size,
                   importance == nullptr ? nullptr : importance + b * size, codes.data());
    t.codec->pack(grid, codes.data(), bytes);
  }
}

/// Calls before(begin, end) for each run of latents, then encodes them and leaves in `out` what they decode to.
template <class Before>
void round_trip(Learned& t, ThreadPool& pool, std::vector<float>& out, const Before& before) {
  const int64_t cols = t.entry->shape.cols(), blocks = t.blocks_a_row();
  out.resize(t.latent.size());
  pool.parallel_for(t.entry->shape.rows(), std::max<int64_t>(1, kGrain / cols),
                    [&](int64_t begin, int64_t end, int) {
                      for (int64_t r = begin; r < end; ++r) {
                        before(static_cast<size_t>(r * cols), static_cast<size_t>((r + 1) * cols));
                        encode_row(t, r);
                        t.codec->decode_blocks(t.bytes.data() + r * blocks * t.codec->block_bytes(), blocks,
                                               out.data() + r * cols);
                      }
                    });
}

/// A sequence of numbers that is the same everywhere (xorshift64*, Vigna 2016).
struct Numbers {
  uint64_t state;
  uint64_t below(uint64_t n) {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (state * 0x2545F4914F6CDD1DULL) % n;
  }
};

/// The windows in the order in which they are read, without an end.
class Order {
 public:
  Order(int64_t windows, uint64_t seed) : seed_(seed), order_(static_cast<size_t>(windows)) {
    std::iota(order_.begin(), order_.end(), int64_t{0});
  }
  int64_t at(int64_t i) {
    const auto n = static_cast<int64_t>(order_.size());
    if (i / n != round_) shuffle(i / n);
    return order_[static_cast<size_t>(i % n)];
  }

 private:
  void shuffle(int64_t round) {
    round_ = round;
    Numbers numbers{(seed_ + 1) * 0x9E3779B97F4A7C15ULL ^ static_cast<uint64_t>(round + 1)};
    for (size_t i = order_.size() - 1; i > 0; --i) std::swap(order_[i], order_[numbers.below(i + 1)]);
  }
  uint64_t seed_;
  int64_t round_ = -1;
  std::vector<int64_t> order_;
};

class Work {
 public:
  Work(const Checkpoint& source, const Plan& plan, const DistillText& text, const TensorSource* start,
       const fs::path& state, const DistillOptions& options, const Progress& progress)
      : source_(source),
        plan_(plan),
        text_(text),
        start_(start),
        state_(state),
        options_(options),
        progress_(progress),
        pool_(options.threads),
        order_(text.windows(), options.seed) {
    const int64_t a_step = options.windows_a_step * text.length;
    steps_ = std::max<int64_t>(1, options.tokens / a_step);
    losses_.reserve(static_cast<size_t>(steps_));
  }

  Result<Distillation> run(const Engine& engine, const std::optional<Importance>& importance) {
    const auto begin = std::chrono::steady_clock::now();
    LISSOM_TRY(means_, means_of(source_, importance));
    LISSOM_CHECK(choose_tensors());
    LISSOM_TRY(const bool finished, resume());
    if (!finished) {
      LISSOM_TRY(distiller_, engine.distiller(source_, {.threads = options_.threads}));
      LISSOM_CHECK(learn());
    }
    done_.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    done_.steps = steps_;
    done_.tokens = steps_ * options_.windows_a_step * text_.length;
    const size_t tenth = std::max<size_t>(1, losses_.size() / 10);
    const auto mean = [&](auto first) {
      return std::accumulate(first, first + static_cast<ptrdiff_t>(tenth), 0.0) / static_cast<double>(tenth);
    };
    if (losses_.empty())
      return bad_input("distillation: no step had a finite divergence; is the checkpoint sound?");
    done_.first_kld = mean(losses_.begin());
    done_.last_kld = mean(losses_.end() - static_cast<ptrdiff_t>(tenth));
    LISSOM_CHECK(measure_tensors());
    return std::move(done_);
  }

 private:
  /// Matrices that are encoded, and the vectors that stay as they are; not what is copied or a constant.
  Result<void> choose_tensors() {
    for (const PlanEntry& entry : plan_.entries) {
      const WeightId id = source_.graph.find_weight(entry.tensor);
      if (id < 0) continue;
      const WeightRole role = source_.graph.weights[static_cast<size_t>(id)].role;
      if (role == WeightRole::constant || role == WeightRole::position) continue;
      const bool vector = entry.shape.rank() == 1;
      if (!vector && entry.from == entry.codec) continue;  // its bytes are copied
      Learned t;
      t.weight = id;
      t.entry = &entry;
      t.codec = find_block_codec(entry.codec);
      const auto mean = means_.find(entry.tensor);
      if (mean != means_.end()) t.mean = &mean->second;
      LISSOM_CHECK(begin_with(entry, t));
      double square = 0;
      for (const float w : t.latent) square += double{w} * double{w};
      const double rms = std::sqrt(square / static_cast<double>(std::max<size_t>(1, t.latent.size())));
      t.scale = std::max(rms, 1e-3) * (vector ? kVectorRate : 1.0);
      tensors_.push_back(std::move(t));
    }
    return {};
  }

  /// Nothing where there is none of that name, type and shape.
  static Result<std::optional<TensorView>> tensor_of(const TensorSource& tensors, const std::string& name,
                                                     const std::string& type, const Shape& shape) {
    const int64_t index = tensors.find(name);
    if (index < 0) return std::nullopt;
    const TensorInfo& info = tensors.tensors()[static_cast<size_t>(index)];
    if (info.type != type || !(info.shape == shape)) return std::nullopt;
    LISSOM_TRY(TensorView view, tensors.read(static_cast<size_t>(index)));
    return view;
  }

  static tl::unexpected<Error> unfit(const TensorSource& tensors, const std::string& name) {
    return bad_input(tensors.origin() + ": tensor '" + name + "' is missing or of another type or shape");
  }

  /// The tensor as F32.
  Result<std::vector<float>> decode(const TensorSource& tensors, const std::string& name, const Shape& shape,
                                    const std::string& type) const {
    LISSOM_TRY(const auto view, tensor_of(tensors, name, type, shape));
    if (!view) return unfit(tensors, name);
    std::vector<float> out(static_cast<size_t>(shape.elements()));
    const std::span<const std::byte> parts[] = {view->data};
    find_codec(type)->decode_rows(shape, parts, 0, shape.rows(), out.data());
    tensors.release(static_cast<size_t>(tensors.find(name)));
    if (!std::ranges::all_of(out, [](float w) { return std::isfinite(w); }))
      return bad_input(tensors.origin() + ": tensor '" + name + "' holds NaN or Inf");
    return out;
  }

  /// Latents and the bytes that they are rounded to.
  Result<void> begin_with(const PlanEntry& entry, Learned& t) {
    const int64_t given = start_ == nullptr ? -1 : start_->find(entry.tensor);
    if (given < 0) {
      LISSOM_TRY(t.latent, decode(*source_.tensors, entry.tensor, entry.shape, entry.from));
      t.bytes.resize(entry.bytes);
      pool_.parallel_for(entry.shape.rows(), 1, [&t](int64_t begin, int64_t end, int) {
        for (int64_t r = begin; r < end; ++r) encode_row(t, r);
      });
    } else {
      t.frozen = t.codec->round_width() > 1;
      if (!t.frozen) {
        LISSOM_TRY(t.latent, decode(*start_, latent_name(entry.tensor), entry.shape, "F32"));
      }
      LISSOM_TRY(const auto view, tensor_of(*start_, entry.tensor, entry.codec, entry.shape));
      if (!view) return unfit(*start_, entry.tensor);
      t.bytes.assign(view->data.begin(), view->data.end());
      start_->release(static_cast<size_t>(given));
    }
    t.begun = t.bytes;
    t.keeps_grid =
        t.codec->round_width() == 1 && t.codec->block_bytes() * 8 < kGridBits * t.codec->block_weights();
    return {};
  }

  /// What learning made of the matrices' weights.
  Result<void> measure_tensors() {
    for (const Learned& t : tensors_) {
      const PlanEntry& entry = *t.entry;
      if (entry.from == entry.codec) continue;
      LISSOM_TRY(const std::vector<float> weights,
                 decode(*source_.tensors, entry.tensor, entry.shape, entry.from));
      const ErrorSums sums = measure_rows(*t.codec, entry.shape.rows(), weights, t.bytes,
                                          [&t](int64_t row) { return t.importance_of(row); });
      done_.tensors.push_back({entry.tensor, sums.relative(), sums.weighted_relative()});
    }
    return {};
  }

  // -------------------------------------------------------------- the state on disk

  struct Part {
    const char* prefix;
    std::vector<float> Learned::*values;
  };
  static constexpr Part kParts[] = {
      {"", &Learned::latent}, {"momentum.", &Learned::momentum}, {"squares.", &Learned::squares}};

  /// After the last step the bytes that the file will hold; before it, all that a step changes but the bytes,
  /// which follow from the latents.
  [[nodiscard]] Result<void> save(int64_t step) const {
    const bool last = step == steps_;
    std::vector<TensorInfo> directory;
    if (last) {
      for (const Learned& t : tensors_)
        directory.push_back({t.entry->tensor, t.entry->codec, t.entry->shape, t.bytes.size()});
    } else {
      for (const Part& part : kParts)
        for (const Learned& t : tensors_)
          if (!t.frozen)
            directory.push_back(
                {part.prefix + t.entry->tensor, "F32", t.entry->shape, bytes_of(t.latent).size()});
    }
    std::string losses;
    for (const double loss : losses_) losses += fmt::format("{} ", loss);
    GgufMetadata metadata;
    metadata.set("general.architecture", std::string("lissom_distillation"));
    metadata.set("key", options_.key);
    metadata.set("step", step);
    metadata.set("skipped", done_.skipped);
    metadata.set("losses", losses);
    metadata.set("begun_kld", done_.begun_kld);
    metadata.set("learned_kld", done_.learned_kld);
    LISSOM_TRY(const auto writer, GgufWriter::create(state_, metadata, directory, {}));
    if (last) {
      for (const Learned& t : tensors_) LISSOM_CHECK(writer->append(t.bytes));
    } else {
      for (const Part& part : kParts)
        for (const Learned& t : tensors_)
          if (!t.frozen) LISSOM_CHECK(writer->append(bytes_of(t.*part.values)));
    }
    return writer->finish();
  }

  /// True where an earlier run has finished. A state that is not whole, or of another job, counts as none.
  Result<bool> resume() {
    std::error_code code;
    if (!fs::exists(state_, code)) return false;
    const auto file = GgufFile::open(state_);
    if (!file) return false;
    const GgufMetadata& said = (*file)->metadata();
    const int64_t step = said.integer_or("step", -1), skipped = said.integer_or("skipped", -1);
    if (said.string_or("key", "") != options_.key || step < 1 || step > steps_ || skipped < 0) return false;
    LISSOM_TRY(const bool whole, step == steps_ ? take_bytes(**file) : take_values(**file));
    if (!whole) return false;
    const std::string losses = said.string_or("losses", "");
    const char* at = losses.c_str();
    for (char* end = nullptr;; at = end) {
      const double loss = std::strtod(at, &end);
      if (end == at) break;
      losses_.push_back(loss);
    }
    done_.resumed_steps = step;
    done_.skipped = skipped;
    done_.begun_kld = said.number_or("begun_kld", 0);
    done_.learned_kld = said.number_or("learned_kld", 0);
    progress_.say(LogLevel::info, fmt::format("distillation goes on after step {} of {}", step, steps_));
    return step == steps_;
  }

  Result<bool> take_bytes(const TensorSource& file) {
    std::vector<std::vector<std::byte>> all;
    for (const Learned& t : tensors_) {
      LISSOM_TRY(const auto view, tensor_of(file, t.entry->tensor, t.entry->codec, t.entry->shape));
      if (!view || view->data.size() != t.bytes.size()) return false;
      all.emplace_back(view->data.begin(), view->data.end());
    }
    for (size_t i = 0; i < all.size(); ++i) tensors_[i].bytes = std::move(all[i]);
    return true;
  }

  Result<bool> take_values(const TensorSource& file) {
    std::vector<std::vector<float>> all;
    for (const Part& part : kParts)
      for (const Learned& t : tensors_) {
        if (t.frozen) continue;
        LISSOM_TRY(const auto view, tensor_of(file, part.prefix + t.entry->tensor, "F32", t.entry->shape));
        if (!view) return false;
        auto& copy = all.emplace_back(t.latent.size());
        std::memcpy(copy.data(), view->data.data(), view->data.size());
        if (!std::ranges::all_of(copy, [](float w) { return std::isfinite(w); })) return false;
      }
    size_t i = 0;
    for (const Part& part : kParts)
      for (Learned& t : tensors_)
        if (!t.frozen) t.*part.values = std::move(all[i++]);
    return true;
  }

  // -------------------------------------------------------------- learning

  Result<void> learn() {
    using Clock = std::chrono::steady_clock;
    LISSOM_CHECK(judge_the_begun());
    std::vector<float> values;
    for (Learned& t : tensors_) {
      t.momentum.resize(t.latent.size());
      t.squares.resize(t.latent.size());
      if (t.frozen) {
        values.resize(static_cast<size_t>(t.entry->shape.elements()));
        t.codec->decode_blocks(t.bytes.data(), t.entry->shape.rows() * t.blocks_a_row(), values.data());
      } else {
        round_trip(t, pool_, values, [](size_t, size_t) {});
      }
      distiller_->set(t.weight, values);
    }
    rate_ = options_.rate;
    if (done_.begun_kld < kFullRateKld) rate_ *= done_.begun_kld / kFullRateKld;
    auto saved = Clock::now();
    for (int64_t step = done_.resumed_steps; step < steps_; ++step) {
      LISSOM_CHECK(take_step(step));
      if (step + 1 == steps_) LISSOM_CHECK(keep_the_better());
      const bool stop = progress_.stop_requested();
      const double since = std::chrono::duration<double>(Clock::now() - saved).count();
      if (stop || since > options_.seconds_between_saves || step + 1 == steps_) {
        LISSOM_CHECK(save(step + 1));
        saved = Clock::now();
      }
      if (stop && step + 1 < steps_) return tl::unexpected(Error{ErrorKind::cancelled, "stopped"});
      progress_.report("distill", step + 1, steps_,
                       losses_.empty() ? "" : fmt::format("KL {:.4f}", losses_.back()));
    }
    return {};
  }

  /// Once: a run that goes on has it from the state.
  Result<void> judge_the_begun() {
    if (done_.resumed_steps > 0 && done_.begun_kld > 0) return {};
    std::vector<float> values;
    for (const Learned& t : tensors_) {
      values.resize(static_cast<size_t>(t.entry->shape.elements()));
      t.codec->decode_blocks(t.begun.data(), t.entry->shape.rows() * t.blocks_a_row(), values.data());
      distiller_->set(t.weight, values);
    }
    LISSOM_TRY(done_.begun_kld, judge());
    for (const Learned& t : tensors_) (void)distiller_->take_gradient(t.weight);
    return {};
  }

  /// Where what it began with says as nearly what the source says, that is kept: of little loss the noise of
  /// the steps makes more.
  Result<void> keep_the_better() {
    LISSOM_TRY(done_.learned_kld, judge());
    if (done_.learned_kld < done_.begun_kld) return {};
    progress_.say(
        LogLevel::info,
        fmt::format("distillation: KL {:.4f} where it began with {:.4f}, so that nothing of it is kept",
                    done_.learned_kld, done_.begun_kld));
    for (Learned& t : tensors_) t.bytes = t.begun;
    return {};
  }

  /// By the windows that would be read next.
  Result<double> judge() {
    const int64_t count = std::min(kJudged, text_.windows());
    double sum = 0;
    for (int64_t i = 0; i < count; ++i) {
      const auto first = text_.tokens.begin() + order_.at(steps_ * options_.windows_a_step + i) * text_.length;
      LISSOM_TRY(const double loss, distiller_->pass(std::vector<int32_t>(first, first + text_.length), 1));
      sum += loss;
    }
    return sum / static_cast<double>(count);
  }

  Result<void> take_step(int64_t step) {
    std::vector<int32_t> batch;
    for (int64_t i = 0; i < options_.windows_a_step; ++i) {
      const auto first = text_.tokens.begin() + order_.at(step * options_.windows_a_step + i) * text_.length;
      batch.insert(batch.end(), first, first + text_.length);
    }
    LISSOM_TRY(const double loss, distiller_->pass(batch, options_.windows_a_step));
    if (!std::isfinite(loss)) {
      ++done_.skipped;
      return {};
    }
    losses_.push_back(loss);
    const double progress = static_cast<double>(step) / static_cast<double>(steps_);
    const double warm = std::min(1.0, static_cast<double>(step + 1) / static_cast<double>(kWarmup));
    const double rate = rate_ * warm * 0.5 * (1 + std::cos(std::numbers::pi * progress));
    std::vector<float> values;
    for (Learned& t : tensors_) {
      const std::span<const float> gradient = distiller_->take_gradient(t.weight);
      if (gradient.empty() || t.frozen) continue;
      move(t, gradient, step, rate * t.scale, values);
      distiller_->set(t.weight, values);
    }
    return {};
  }

  /// Adam's step, and in `values` what becomes of it.
  void move(Learned& t, std::span<const float> gradient, int64_t step, double rate,
            std::vector<float>& values) {
    const auto n = static_cast<double>(step + 1);
    const auto of_momentum = static_cast<float>(1 / (1 - std::pow(double{kMomentum}, n)));
    const auto of_squares = static_cast<float>(1 / (1 - std::pow(double{kSquares}, n)));
    const auto by = static_cast<float>(rate);
    const float limit = 0.99F * t.codec->max_magnitude();
    round_trip(t, pool_, values, [&](size_t begin, size_t end) {
      for (size_t i = begin; i < end; ++i) {
        const float g = gradient[i];
        t.momentum[i] = kMomentum * t.momentum[i] + (1 - kMomentum) * g;
        t.squares[i] = kSquares * t.squares[i] + (1 - kSquares) * g * g;
        const float moved =
            t.latent[i] - by * (t.momentum[i] * of_momentum) / (std::sqrt(t.squares[i] * of_squares) + kTiny);
        t.latent[i] = std::clamp(moved, -limit, limit);
      }
    });
  }

  const Checkpoint& source_;
  const Plan& plan_;
  const DistillText& text_;
  const TensorSource* start_;
  fs::path state_;
  const DistillOptions& options_;
  const Progress& progress_;
  ThreadPool pool_;
  Order order_;
  int64_t steps_ = 0;
  double rate_ = 0;
  Means means_;
  std::vector<Learned> tensors_;
  std::unique_ptr<Distiller> distiller_;
  std::vector<double> losses_;
  Distillation done_;
};

}  // namespace

std::string latent_name(const std::string& tensor) {
  return "latent." + tensor;
}

Result<Distillation> distill(const Checkpoint& source, const Plan& plan,
                             const std::optional<Importance>& importance, const Engine& engine,
                             const DistillText& text, const TensorSource* start, const fs::path& state,
                             const DistillOptions& options, const Progress& progress) {
  if (text.windows() < 1)
    return bad_input(fmt::format("distillation: a text of {} tokens, where a window has {}", text.tokens.size(),
                                 text.length));
  return Work(source, plan, text, start, state, options, progress).run(engine, importance);
}

uint64_t distill_memory(const Checkpoint& source, int64_t window, int64_t windows_a_step) {
  uint64_t weights = 0, largest = 0;
  for (const TensorInfo& info : source.tensors->tensors()) {
    const auto n = static_cast<uint64_t>(info.shape.elements());
    weights += n;
    largest = std::max(largest, n);
  }
  // F32: latents and two moments. BF16: the student, its gradients, the teacher. About two bytes: what the
  // file will hold, and would hold if nothing were learned. Of one tensor at a time what its bytes decode to
  // and its gradient in F32; of a head, the sum of that too.
  const uint64_t values = weights * (3 * 4 + 3 * 2 + 2) + largest * 3 * 4;
  // What a block keeps for its derivative, some of it in BF16: about 8 rows of the model's width and four of
  // the MLP's; and the logits at work.
  const Config& c = source.config;
  const auto rows = static_cast<uint64_t>(window * windows_a_step);
  const auto kept =
      static_cast<uint64_t>(c.layers * (8 * c.width + 4 * std::max(c.ff, c.experts.ff * c.experts.used)));
  return values + rows * kept * 4 + 6 * 256 * static_cast<uint64_t>(c.vocab) * 4;
}

}  // namespace lissom
