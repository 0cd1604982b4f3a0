#pragma once
// What needs gradients. LibTorch is behind a plugin (src/engine) that is loaded when something asks for it, so
// that what ships and runs never carries it.

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lissom/model.h"
#include "lissom/result.h"

namespace lissom {

/// Two models of one graph: the teacher is a checkpoint as it is, the student the same with weights that the
/// caller sets between passes.
class Distiller {
 public:
  virtual ~Distiller() = default;
  /// The student's weight for the passes to come: values in the weight's shape, F32.
  virtual void set(WeightId weight, std::span<const float> values) = 0;
  /// Reads sequences of one length, `tokens.size() / sequences` each, with both models. Adds to the gradients
  /// of the mean over all tokens of KL(teacher ‖ student), and returns that mean, in nats.
  [[nodiscard]] virtual Result<double> pass(std::span<const int32_t> tokens, int64_t sequences) = 0;
  /// The gradient by a weight that was set, F32 in its shape, of the passes since the last call for it; empty
  /// where no pass used the weight. Valid until the next call.
  [[nodiscard]] virtual std::span<const float> take_gradient(WeightId weight) = 0;
};

/// How much a model's prediction hangs on what its linears make of each token: the trace of the Fisher
/// information of a linear's output, which is what an error of that output adds to the KL divergence (Martens
/// 2020, arXiv 1412.1193; as weights of tokens in XᵀX: GuidedQuant, Kim et al. 2025, arXiv 2505.07004).
class TokenFisher {
 public:
  virtual ~TokenFisher() = default;
  /// By a linear's weight: one number for each token.
  using ByWeight = std::map<WeightId, std::vector<float>>;
  /// By a linear's weight: Σ over tokens of g·gᵀ, outputs × outputs, of gradients g by its outputs.
  using Moments = std::map<WeightId, std::vector<float>>;
  /// Reads one sequence: mean squares over the outputs of g = ∂(-Σ log p(y))/∂output, each position's y drawn
  /// from the model's own prediction by `seed`. An estimate, whose expectation is the trace divided by the
  /// outputs; experts of a mixture have none. To the moments that are there, those of this pass are added where
  /// they are finite; null: none are wanted.
  [[nodiscard]] virtual Result<ByWeight> pass(std::span<const int32_t> tokens, uint64_t seed,
                                              Moments* moments) = 0;
};

struct EngineOptions {
  int threads = 0;   ///< 0: the number of physical cores
  bool bf16 = true;  ///< products and attention round their inputs to BF16; sums and gradients stay F32
  /// Of a TokenFisher: holds the weights of one block at a time, reads them anew for each pass forwards and
  /// back, and runs each block twice. To the same numbers.
  bool by_block = false;
};

class Engine {
 public:
  virtual ~Engine() = default;
  [[nodiscard]] virtual std::string description() const = 0;  ///< "LibTorch 2.13.0 (CPU)"
  /// Where all that is made from now on computes: "cpu", as at first, "cuda", "cuda:1". Errors: another name
  /// (bad_input), or no such device here (unsupported).
  [[nodiscard]] virtual Result<void> use(const std::string& device) = 0;
  /// The graph in F32 over one sequence: logits, or hidden states where there are none, as rows × width.
  /// `positions`: how many the sequence may come to hold, by which longrope chooses its divisors.
  [[nodiscard]] virtual Result<std::vector<float>> forward(const Checkpoint& checkpoint,
                                                           std::span<const int32_t> tokens,
                                                           std::span<const int32_t> types,
                                                           int64_t positions) const = 0;
  /// Both fail on a model that predicts no next token.
  [[nodiscard]] virtual Result<std::unique_ptr<Distiller>> distiller(const Checkpoint& teacher,
                                                                     const EngineOptions& options) const = 0;
  [[nodiscard]] virtual Result<std::unique_ptr<TokenFisher>> token_fisher(
      const Checkpoint& checkpoint, const EngineOptions& options) const = 0;
};

/// Loads the plugin: the file that the environment's LISSOM_ENGINE names, else liblissom_engine.so beside the
/// program or in ../lib/lissom from there. The error says where it was looked for and how to build it; or what
/// Engine::use() has against `device`.
[[nodiscard]] Result<std::shared_ptr<const Engine>> load_engine(const std::string& device = "cpu");

}  // namespace lissom
