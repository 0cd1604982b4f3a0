#include "pipeline/measure.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <functional>
#include <memory>

#include "base/threads.h"
#include "codec/parts.h"
#include "compress/checksum.h"
#include "compress/digest.h"
#include "compress/encode.h"
#include "eval/rows.h"
#include "lissom/codec.h"
#include "model/arch.h"

namespace lissom {
namespace {

using Clock = std::chrono::steady_clock;

constexpr uint64_t kLargerThanCaches = uint64_t{64} << 20;
constexpr int64_t kVocabulary = 8192;           ///< of the measured head, at most; its cost is in proportion
constexpr int64_t kContext = 512;               ///< positions of a sequence
constexpr double kMostWork = 4e9;               ///< weights × tokens of a measured prompt
constexpr int64_t kEncodedWeights = 512 << 10;  ///< of the measured matrix
constexpr int kRepeats = 3;

double seconds_of(const std::function<void()>& work) {
  const auto begin = Clock::now();
  work();
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

/// The least of some runs: what disturbs a run only makes it longer.
double best_of(int runs, const std::function<void()>& work) {
  double best = seconds_of(work);
  for (int i = 1; i < runs; ++i) best = std::min(best, seconds_of(work));
  return best;
}

/// Tensors of zeros, all in one mapping that takes no memory as long as nobody writes to it.
class ZeroSource final : public TensorSource {
 public:
  static Result<std::shared_ptr<ZeroSource>> make(std::vector<TensorInfo> infos) {
    auto source = std::make_shared<ZeroSource>();
    source->infos_ = std::move(infos);
    for (const TensorInfo& info : source->infos_)
      source->bytes_ = std::max(source->bytes_, static_cast<size_t>(info.bytes));
    void* p = mmap(nullptr, std::max<size_t>(source->bytes_, 1), PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return io_error("out of address space for a measurement");
    source->zeros_ = static_cast<const std::byte*>(p);
    return source;
  }
  ZeroSource() = default;
  ZeroSource(const ZeroSource&) = delete;
  ZeroSource& operator=(const ZeroSource&) = delete;
  ~ZeroSource() override {
    if (zeros_ != nullptr) munmap(const_cast<std::byte*>(zeros_), std::max<size_t>(bytes_, 1));
  }
  [[nodiscard]] std::span<const TensorInfo> tensors() const override { return infos_; }
  [[nodiscard]] Result<TensorView> read(size_t index) const override {
    const TensorInfo& info = infos_[index];
    return TensorView{info, {zeros_, static_cast<size_t>(info.bytes)}, {}};
  }
  void release(size_t) const override {}
  [[nodiscard]] std::string origin() const override { return "measurement"; }

 private:
  std::vector<TensorInfo> infos_;
  const std::byte* zeros_ = nullptr;
  size_t bytes_ = 0;
};

/// "blk.17.ffn_up.weight" → "ffn_up.weight"; empty for a tensor that belongs to no block.
std::string part_of_block(const std::string& name) {
  if (!name.starts_with("blk.")) return {};
  const size_t dot = name.find('.', 4);
  return dot == std::string::npos ? std::string() : name.substr(dot + 1);
}

/// The type of each part of a block, as most blocks have it, and of the other tensors under their own names.
std::map<std::string, std::string> usual_types(const std::vector<TensorInfo>& tensors) {
  std::map<std::string, std::map<std::string, int64_t>> counts;
  for (const TensorInfo& info : tensors) {
    const std::string part = part_of_block(info.name);
    ++counts[part.empty() ? info.name : part][info.type];
  }
  std::map<std::string, std::string> usual;
  for (const auto& [name, types] : counts)
    usual[name] = std::ranges::max_element(types, {}, [](const auto& entry) { return entry.second; })->first;
  return usual;
}

/// A checkpoint of the first `layers` blocks, with a small vocabulary and zeros for weights.
Result<Checkpoint> small_checkpoint(Config config, int64_t layers,
                                    const std::map<std::string, std::string>& types) {
  const Architecture* arch = find_architecture(config.arch);
  if (arch == nullptr) return unsupported("no architecture " + config.arch);
  config.layers = layers;
  config.vocab = std::min(config.vocab, kVocabulary);
  Checkpoint small;
  small.path = "measurement";
  small.config = config;
  LISSOM_TRY(small.graph, arch->build(config));
  std::vector<TensorInfo> infos;
  for (const Weight& weight : small.graph.weights) {
    const std::string part = part_of_block(weight.name);
    const auto type = types.find(part.empty() ? weight.name : part);
    if (type == types.end()) continue;  // optional, and the checkpoint leaves it out
    const Codec* codec = find_codec(type->second);
    if (codec == nullptr || weight.shape.cols() % codec->column_multiple() != 0)
      return unsupported("type '" + type->second + "' is not a codec of this build");
    TensorInfo info{weight.name, type->second, weight.shape, 0};
    info.bytes = part_offsets(codec->components(weight.shape)).back();
    infos.push_back(std::move(info));
  }
  LISSOM_TRY(small.tensors, ZeroSource::make(std::move(infos)));
  return small;
}

/// Seconds of the three kinds of batches, every row with logits.
struct Passes {
  double prompt = 0, batch = 0, generate = 0, load = 0;
  uint64_t bytes = 0;
};

/// cold: a step finds no weights in the processor's caches, as where the model is larger than they are.
Result<Passes> time_passes(const Checkpoint& small, int64_t tokens, int threads, bool cold) {
  Passes passes;
  RuntimeOptions options;
  options.threads = threads;
  const auto begin = Clock::now();
  LISSOM_TRY(const auto model, Model::load(small, options));
  passes.load = std::chrono::duration<double>(Clock::now() - begin).count();
  passes.bytes = model->weight_bytes();
  LISSOM_TRY(const auto session, Session::create(model, kContext * kMeasuredBatch, kMeasuredBatch));

  std::vector<int32_t> zeros(static_cast<size_t>(std::max(tokens, kMeasuredBatch)), 0), sequences;
  for (int64_t i = 0; i < kMeasuredBatch; ++i) sequences.push_back(static_cast<int32_t>(i));
  Result<void> failure;
  const auto run = [&](const Batch& batch) {
    if (const auto done = session->run(batch); !done && failure) failure = tl::unexpected(done.error());
  };
  const std::span<const int32_t> prompt = std::span(zeros).first(static_cast<size_t>(tokens));
  passes.prompt = best_of(kRepeats, [&] {
    session->clear();
    run({.tokens = prompt});
  });
  LISSOM_CHECK(failure);
  if (!small.config.causal) return passes;
  const std::span<const int32_t> one = std::span(zeros).first(1);
  std::vector<uint8_t> elsewhere(cold ? kLargerThanCaches : 0);
  const auto step = [&](const Batch& batch) {  // the median: which weights stay in a cache is chance
    session->clear();
    std::array<double, size_t{12} * kRepeats> seconds{};
    for (double& one_step : seconds) {
      for (size_t at = 0; at < elsewhere.size(); at += 64) ++elsewhere[at];
      one_step = seconds_of([&] { run(batch); });
    }
    std::nth_element(seconds.begin(), seconds.begin() + seconds.size() / 2, seconds.end());
    return seconds[seconds.size() / 2];
  };
  passes.generate = step({.tokens = one});
  passes.batch = step({.tokens = std::span(zeros).first(sequences.size()), .sequences = sequences});
  LISSOM_CHECK(failure);
  return passes;
}

double at_least_zero(double value) {
  return std::max(value, 0.0);
}

}  // namespace

Result<ModelSpeed> measure_model(const Config& config, const std::vector<TensorInfo>& tensors, int threads) {
  const auto types = usual_types(tensors);
  uint64_t bytes = 0;
  for (const TensorInfo& info : tensors) bytes += info.bytes;
  Passes passes[2];
  double weights = 0;
  int64_t tokens = 0;
  for (int i = 0; i < 2; ++i) {
    LISSOM_TRY(const Checkpoint small, small_checkpoint(config, i + 1, types));
    if (i == 0) {
      for (const TensorInfo& info : small.tensors->tensors())
        weights += static_cast<double>(info.shape.elements());
      tokens = std::clamp<int64_t>(std::llround(kMostWork / weights), 32, kContext);
      if (config.context > 0) tokens = std::min(tokens, config.context);
    }
    LISSOM_TRY(passes[i], time_passes(small, tokens, threads, bytes > kLargerThanCaches));
  }
  const double scale =
      static_cast<double>(config.vocab) / static_cast<double>(std::min(config.vocab, kVocabulary));
  const auto n = static_cast<double>(tokens);
  const auto block = [&](double Passes::*part) { return at_least_zero(passes[1].*part - passes[0].*part); };
  const auto head = [&](double Passes::*part) { return at_least_zero(passes[0].*part - block(part)) * scale; };
  ModelSpeed speed;
  speed.block_prompt = block(&Passes::prompt) / n;
  speed.head_prompt = head(&Passes::prompt) / n;
  speed.block_batch = block(&Passes::batch);
  speed.head_batch = head(&Passes::batch);
  speed.block_generate = block(&Passes::generate);
  speed.head_generate = head(&Passes::generate);
  speed.load = passes[1].load / static_cast<double>(std::max<uint64_t>(passes[1].bytes, 1));
  return speed;
}

Result<double> measure_distillation(const Engine& engine, const Config& config,
                                    const std::vector<TensorInfo>& tensors, int64_t tokens, int threads) {
  const auto types = usual_types(tensors);
  if (config.context > 0) tokens = std::min(tokens, config.context);
  const std::vector<int32_t> window(static_cast<size_t>(tokens), 0);
  double seconds[2];
  for (int i = 0; i < 2; ++i) {
    LISSOM_TRY(const Checkpoint small, small_checkpoint(config, i + 1, types));
    LISSOM_TRY(const auto distiller, engine.distiller(small, {.threads = threads}));
    std::vector<float> zeros;
    const auto hand_over = [&] {
      for (size_t w = 0; w < small.graph.weights.size(); ++w) {
        if (small.tensors->find(small.graph.weights[w].name) < 0) continue;
        zeros.resize(static_cast<size_t>(small.graph.weights[w].shape.elements()));
        (void)distiller->take_gradient(static_cast<WeightId>(w));
        distiller->set(static_cast<WeightId>(w), zeros);
      }
    };
    hand_over();
    Result<void> failure;
    seconds[i] = best_of(kRepeats, [&] {
      if (const auto done = distiller->pass(window, 1); !done && failure)
        failure = tl::unexpected(done.error());
      hand_over();
    });
    LISSOM_CHECK(failure);
  }
  const double block = at_least_zero(seconds[1] - seconds[0]);
  const double scale =
      static_cast<double>(config.vocab) / static_cast<double>(std::min(config.vocab, kVocabulary));
  return static_cast<double>(config.layers) * block + at_least_zero(seconds[0] - block) * scale;
}

Result<double> measure_encoding(const std::string& from, const std::string& to, int64_t cols, bool importance,
                                int threads) {
  const Codec* source_codec = find_codec(from);
  if (source_codec == nullptr) return unsupported("type '" + from + "' is not a codec of this build");
  const int64_t rows = std::max<int64_t>(1, kEncodedWeights / cols);
  const Shape shape{rows, cols};
  // Weights as networks have them, roughly: zeros would be encoded too fast.
  std::vector<float> weights(static_cast<size_t>(shape.elements()));
  uint64_t state = 1;
  for (float& w : weights) {
    float sum = 0;
    for (int i = 0; i < 4; ++i) {
      state = state * 6364136223846793005U + 1442695040888963407U;
      sum += static_cast<float>(state >> 40U) / static_cast<float>(1 << 24) - 0.5F;
    }
    w = 0.05F * sum;
  }
  LISSOM_TRY(const auto parts, encode_checked(*source_codec, "measurement", shape, weights, {}));
  struct OneTensor final : TensorSource {
    TensorInfo info;
    std::span<const std::byte> bytes;
    [[nodiscard]] std::span<const TensorInfo> tensors() const override { return {&info, 1}; }
    [[nodiscard]] Result<TensorView> read(size_t) const override { return TensorView{info, bytes, {}}; }
    void release(size_t) const override {}
    [[nodiscard]] std::string origin() const override { return "measurement"; }
  } source;
  source.info = {"measurement", from, shape, parts.front().size()};
  source.bytes = parts.front();

  const Codec* codec = find_codec(to);
  if (codec == nullptr) return unsupported("no codec " + to);
  Plan plan;
  PlanEntry entry;
  entry.tensor = "measurement";
  entry.shape = shape;
  entry.from = from;
  entry.codec = to;
  for (const Component& component : codec->components(shape)) entry.bytes += component.bytes;
  plan.entries.push_back(entry);
  std::map<std::string, std::vector<float>> means;
  if (importance) means["measurement"].assign(static_cast<size_t>(cols), 1.0F);

  ThreadPool pool(threads);
  Result<void> failure;
  const double seconds = best_of(2, [&] {
    Encoder encoder(source, plan, means, pool, shape.elements(), false);
    Slab slab;
    if (const auto done = encoder.next(slab); !done && failure) failure = done;
    Checksum checksum;
    checksum.update(slab.bytes);
    (void)checksum.value();
  });
  LISSOM_CHECK(failure);
  return seconds / static_cast<double>(shape.elements());
}

double measure_digest() {
  const std::vector<std::byte> bytes(4 << 20);
  const double seconds = best_of(2, [&] {
    Sha256 hash;
    hash.update(bytes);
    (void)hash.finish();
  });
  return seconds / static_cast<double>(bytes.size());
}

double measure_sampling(int64_t vocab) {
  std::vector<float> logits(static_cast<size_t>(vocab));
  // A few tokens likely and a long tail, as models have it.
  for (size_t i = 0; i < logits.size(); ++i)
    logits[i] = -1.5F * std::log1p(static_cast<float>(i * 7919 % logits.size()));
  Sampler sampler({.temperature = 1.0F, .top_k = kSampledLikeliest, .top_p = 0.95F, .min_p = 0, .seed = 1});
  return best_of(kRepeats, [&] { (void)sampler.sample(logits); });
}

Result<double> measure_scoring(int64_t vocab) {
  LISSOM_TRY(const Target target, active_target());
  std::vector<float> logits(static_cast<size_t>(vocab), 0.0F), base(logits);
  for (size_t i = 0; i < logits.size(); ++i) base[i] = logits[i] = static_cast<float>(i % 31) * 0.3F;
  return best_of(kRepeats, [&] { (void)score_rows(target, logits.data(), base.data(), vocab, 0); });
}

}  // namespace lissom
