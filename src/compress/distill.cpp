#include "compress/distill.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstring>
#include <numbers>
#include <numeric>

#include "base/threads.h"
#include "compress/source.h"
#include "format/safetensors.h"
#include "lissom/codec.h"

namespace lissom {
namespace {

namespace fs = std::filesystem;

// Adam (Kingma and Ba 2015). The short memory of squares fits runs of a hundred steps.
constexpr float kMomentum = 0.9F, kSquares = 0.95F, kTiny = 1e-12F;
constexpr int64_t kWarmup = 5;
/// One-dimensional tensors act on every token alike, so they go more slowly.
constexpr double kVectorRate = 0.3;
constexpr int64_t kGrain = int64_t{1} << 15;  // weights that a thread takes at a time

/// A tensor that is learned.
struct Learned {
  WeightId weight = -1;
  const PlanEntry* entry = nullptr;
  const BlockCodec* codec = nullptr;
  const std::vector<float>* mean = nullptr;  ///< importance, or null
  double scale = 0;                          ///< of its steps
  std::vector<float> latent, momentum, squares;
};

std::span<const std::byte> bytes_of(const std::vector<float>& values) {
  return std::as_bytes(std::span(values));
}

/// Calls before(begin, end) for each run of latents, then leaves in `out` what the file will hold for them,
/// read back.
template <class Before>
void round_trip(const Learned& t, ThreadPool& pool, std::vector<float>& out, const Before& before) {
  const Shape& shape = t.entry->shape;
  const int64_t cols = shape.cols(), blocks = cols / t.codec->block_weights();
  const int64_t rows_of_matrix = shape.rank() == 3 ? shape[1] : shape.rows();
  const bool own = t.mean != nullptr && static_cast<int64_t>(t.mean->size()) > cols;  // each expert's
  out.resize(t.latent.size());
  pool.parallel_for(shape.rows(), std::max<int64_t>(1, kGrain / cols), [&](int64_t begin, int64_t end, int) {
    std::vector<std::byte> bytes(static_cast<size_t>(blocks * t.codec->block_bytes()));
    for (int64_t r = begin; r < end; ++r) {
      before(static_cast<size_t>(r * cols), static_cast<size_t>((r + 1) * cols));
      const float* mean = t.mean == nullptr ? nullptr : t.mean->data() + (own ? r / rows_of_matrix * cols : 0);
      t.codec->encode_blocks(t.latent.data() + r * cols, mean, blocks, blocks, bytes.data());
      t.codec->decode_blocks(bytes.data(), blocks, out.data() + r * cols);
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
    return done_;
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
      LISSOM_CHECK(begin_with(entry, t.latent));
      double square = 0;
      for (const float w : t.latent) square += double{w} * double{w};
      const double rms = std::sqrt(square / static_cast<double>(t.latent.size()));
      t.scale = std::max(rms, 1e-3) * (vector ? kVectorRate : 1.0);
      tensors_.push_back(std::move(t));
    }
    return {};
  }

  Result<void> begin_with(const PlanEntry& entry, std::vector<float>& out) const {
    const bool started = start_ != nullptr && start_->find(entry.tensor) >= 0;
    const TensorSource& tensors = started ? *start_ : *source_.tensors;
    const auto index = static_cast<size_t>(tensors.find(entry.tensor));
    LISSOM_TRY(const TensorView view, tensors.read(index));
    const Codec& codec = *find_codec(started ? "F32" : entry.from);
    out.resize(static_cast<size_t>(entry.shape.elements()));
    const std::span<const std::byte> bytes[] = {view.data};
    codec.decode_rows(entry.shape, bytes, 0, entry.shape.rows(), out.data());
    tensors.release(index);
    if (!std::ranges::all_of(out, [](float w) { return std::isfinite(w); }))
      return bad_input(tensors.origin() + ": tensor '" + entry.tensor + "' holds NaN or Inf");
    return {};
  }

  // -------------------------------------------------------------- the state on disk

  struct Part {
    const char* prefix;
    std::vector<float> Learned::*values;
  };
  /// What the state after `step` holds of each tensor.
  [[nodiscard]] std::span<const Part> parts_after(int64_t step) const {
    static constexpr Part kParts[] = {
        {"", &Learned::latent}, {"momentum.", &Learned::momentum}, {"squares.", &Learned::squares}};
    return std::span(kParts).first(step == steps_ ? 1 : 3);
  }

  [[nodiscard]] Result<void> save(int64_t step) const {
    std::vector<TensorInfo> directory;
    for (const Part& part : parts_after(step))
      for (const Learned& t : tensors_)
        directory.push_back({part.prefix + t.entry->tensor, "F32", t.entry->shape, bytes_of(t.latent).size()});
    std::string losses;
    for (const double loss : losses_) losses += fmt::format("{} ", loss);
    LISSOM_TRY(const auto writer, SafetensorsWriter::create(state_, directory,
                                                            {{"key", options_.key},
                                                             {"step", std::to_string(step)},
                                                             {"skipped", std::to_string(done_.skipped)},
                                                             {"losses", losses}}));
    for (const Part& part : parts_after(step))
      for (const Learned& t : tensors_) LISSOM_CHECK(writer->append(bytes_of(t.*part.values)));
    return writer->finish();
  }

  /// True where an earlier run has finished. A state that is not whole, or of another job, counts as none.
  Result<bool> resume() {
    std::error_code code;
    if (!fs::exists(state_, code)) return false;
    const auto file = SafetensorsFile::open(state_);
    if (!file) return false;
    const auto& said = (*file)->metadata();
    const auto value = [&](const char* key) {
      const auto found = said.find(key);
      return found == said.end() ? std::string() : found->second;
    };
    const auto number = [&](const char* key) {
      int64_t n = -1;
      const std::string text = value(key);
      std::from_chars(text.data(), text.data() + text.size(), n);
      return n;
    };
    const int64_t step = number("step");
    if (value("key") != options_.key || step < 1 || step > steps_ || number("skipped") < 0) return false;
    std::vector<std::vector<float>> values;
    for (const Part& part : parts_after(step))
      for (const Learned& t : tensors_) {
        const int64_t index = (*file)->find(part.prefix + t.entry->tensor);
        if (index < 0) return false;
        const TensorInfo& info = (*file)->tensors()[static_cast<size_t>(index)];
        if (info.type != "F32" || !(info.shape == t.entry->shape)) return false;
        LISSOM_TRY(const TensorView view, (*file)->read(static_cast<size_t>(index)));
        auto& copy = values.emplace_back(t.latent.size());
        std::memcpy(copy.data(), view.data.data(), view.data.size());
        if (!std::ranges::all_of(copy, [](float w) { return std::isfinite(w); })) return false;
      }
    size_t i = 0;
    for (const Part& part : parts_after(step))
      for (Learned& t : tensors_) t.*part.values = std::move(values[i++]);
    const std::string losses = value("losses");
    const char* at = losses.c_str();
    for (char* end = nullptr;; at = end) {
      const double loss = std::strtod(at, &end);
      if (end == at) break;
      losses_.push_back(loss);
    }
    done_.resumed_steps = step;
    done_.skipped = number("skipped");
    progress_.say(LogLevel::info, fmt::format("distillation goes on after step {} of {}", step, steps_));
    return step == steps_;
  }

  // -------------------------------------------------------------- learning

  Result<void> learn() {
    using Clock = std::chrono::steady_clock;
    std::vector<float> values;
    for (Learned& t : tensors_) {
      t.momentum.resize(t.latent.size());
      t.squares.resize(t.latent.size());
      round_trip(t, pool_, values, [](size_t, size_t) {});
      distiller_->set(t.weight, values);
    }
    auto saved = Clock::now();
    for (int64_t step = done_.resumed_steps; step < steps_; ++step) {
      LISSOM_CHECK(take_step(step));
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
    const double rate = options_.rate * warm * 0.5 * (1 + std::cos(std::numbers::pi * progress));
    std::vector<float> values;
    for (Learned& t : tensors_) {
      const std::span<const float> gradient = distiller_->take_gradient(t.weight);
      if (gradient.empty()) continue;
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
  Means means_;
  std::vector<Learned> tensors_;
  std::unique_ptr<Distiller> distiller_;
  std::vector<double> losses_;
  Distillation done_;
};

}  // namespace

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
  // F32: latents and two moments. BF16: the student, its gradients, the teacher. Of one tensor at a time what
  // its bytes decode to and its gradient in F32; of a head, the sum of that too.
  const uint64_t values = weights * (3 * 4 + 3 * 2) + largest * 3 * 4;
  // What a block keeps for its derivative, some of it in BF16: about 8 rows of the model's width and four of
  // the MLP's; and the logits at work.
  const Config& c = source.config;
  const auto rows = static_cast<uint64_t>(window * windows_a_step);
  const auto kept =
      static_cast<uint64_t>(c.layers * (8 * c.width + 4 * std::max(c.ff, c.experts.ff * c.experts.used)));
  return values + rows * kept * 4 + 6 * 256 * static_cast<uint64_t>(c.vocab) * 4;
}

}  // namespace lissom
