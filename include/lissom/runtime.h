#pragma once
// Runs a graph on the CPU straight from packed weights. No torch.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lissom/model.h"
#include "lissom/result.h"

namespace lissom {

enum class CacheType { f16, q8_0 };

struct RuntimeOptions {
  int threads = 0;  ///< 0: the number of physical cores
  CacheType cache = CacheType::f16;
  bool bf16 = false;   ///< F32 matrices are rounded to BF16: half the memory, where no result hangs on it
  bool exact = false;  ///< F32 arithmetic on dequantized weights, F32 cache: the yardstick for the fast kernels
};

/// Tokens to run at once: several sequences may be mixed. All arrays have the same length. Encoders keep
/// nothing from one run to the next and want each sequence's rows together; every row of theirs is wanted.
struct Batch {
  std::span<const int32_t> tokens{};
  std::span<const int32_t> positions{};  ///< empty: continue each sequence from where its cache ends.
                                         ///< A sequence's first may be lower: it steps back
  std::span<const int32_t> sequences{};  ///< empty: all of sequence 0
  std::span<const uint8_t> wanted{};     ///< rows for which logits are wanted; empty: all
  std::span<const int32_t> token_types{};
};

/// Weights ready to run: mapped, or repacked for this machine's kernels (then the mapping is released).
class Model {
 public:
  virtual ~Model() = default;
  [[nodiscard]] static Result<std::shared_ptr<Model>> load(const Checkpoint& checkpoint,
                                                           const RuntimeOptions& options);
  [[nodiscard]] virtual const Config& config() const = 0;
  [[nodiscard]] virtual const Graph& graph() const = 0;
  [[nodiscard]] virtual uint64_t weight_bytes() const = 0;
};

/// Memory of a model at work, bytes. What the process has anyway (code, tokenizer, metadata) is not in it.
struct MemoryNeed {
  uint64_t weights = 0;      ///< as the kernels hold them
  uint64_t cache = 0;        ///< keys and values
  uint64_t activations = 0;  ///< and prepared inputs and logits, of the largest batch
  uint64_t loading = 0;      ///< the most while the weights come in: those that are there, and one more as the
                             ///< file has it
  [[nodiscard]] uint64_t peak() const { return std::max(loading, weights + cache + activations); }
};
struct Load {
  int64_t context = 512, sequences = 1;  ///< as for Session::create
  int64_t rows = 512, wanted = 1;        ///< of the largest batch, and how many of them want logits
};
/// Foretells it from shapes and types alone: `tensors` may be of a file that is not there yet. Fails as
/// Model::load does on a graph that does not fit together; tensors of unknown codecs count with their bytes.
[[nodiscard]] Result<MemoryNeed> memory_needed(const Graph& graph, std::span<const TensorInfo> tensors,
                                               const RuntimeOptions& options, const Load& load);

/// One conversation or a batch of them: a KV cache and scratch memory. Not thread-safe; make one per job.
class Session {
 public:
  virtual ~Session() = default;
  /// `context`: cache positions, shared by `sequences` sequences of context/sequences each.
  [[nodiscard]] static Result<std::unique_ptr<Session>> create(std::shared_ptr<Model> model, int64_t context,
                                                               int64_t sequences = 1);
  /// Runs the batch. The result stays valid until the next call: wanted rows × vocab for decoders; for encoders
  /// sequences × labels, or hidden states (see hidden()). Sequences in the order in which the batch has them.
  [[nodiscard]] virtual Result<std::span<const float>> run(const Batch& batch) = 0;
  [[nodiscard]] virtual std::span<const float> hidden() const = 0;  ///< wanted rows × width of the last run
  [[nodiscard]] virtual std::span<const float> pooled() const = 0;  ///< sequences × width of the last run
  virtual void clear() = 0;                                         ///< forgets every sequence
  virtual void clear(int32_t sequence) = 0;
  [[nodiscard]] virtual int64_t length(int32_t sequence) const = 0;  ///< cached positions
};

/// Reads tokens into sequence 0, from where its cache ends, in batches of at most `at_once`: activations need
/// no more memory for a long prompt than for a short one. The result is that of the last batch, with the logits
/// of the last token alone. Fails on no tokens.
[[nodiscard]] Result<std::span<const float>> read_prompt(Session& session, std::span<const int32_t> tokens,
                                                         int64_t at_once = 512);

struct SamplingOptions {
  float temperature = 0.8F;  ///< 0: greedy
  int top_k = 40;            ///< 0: off
  float top_p = 0.95F, min_p = 0.05F;
  float repetition_penalty = 1.0F;
  int penalty_window = 64;
  uint64_t seed = 0;
};

/// Draws tokens: penalty, top-k, top-p, min-p, temperature, in this order. Same seed and logits, same tokens,
/// on every machine.
class Sampler {
 public:
  explicit Sampler(const SamplingOptions& options);
  /// NaN and -inf are never drawn; +inf always is. -1 when nothing can be drawn. Temperature ≤ 0, top_k = 1 and
  /// top_p ≤ 0 take the largest logit, the smaller id among equals; at least the best token passes every
  /// filter.
  [[nodiscard]] int32_t sample(std::span<const float> logits);
  void accept(int32_t token);  ///< adds to the penalty window

 private:
  SamplingOptions options_;
  std::vector<int32_t> recent_;
  uint64_t state_[4];
  std::vector<std::pair<float, int32_t>> candidates_;
};

}  // namespace lissom
