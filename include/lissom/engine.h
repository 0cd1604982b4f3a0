#pragma once
// What needs gradients. LibTorch is behind a plugin (src/engine) that is loaded when something asks for it, so
// that what ships and runs never carries it.

#include <cstdint>
#include <filesystem>
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

struct DistillerOptions {
  int threads = 0;   ///< 0: the number of physical cores
  bool bf16 = true;  ///< products and attention round their inputs to BF16; sums and gradients stay F32
};

class Engine {
 public:
  virtual ~Engine() = default;
  [[nodiscard]] virtual std::string description() const = 0;  ///< "LibTorch 2.13.0 (CPU)"
  /// The graph in F32 over one sequence: logits, or hidden states where there are none, as rows × width.
  /// `positions`: how many the sequence may come to hold, by which longrope chooses its divisors.
  [[nodiscard]] virtual Result<std::vector<float>> forward(const Checkpoint& checkpoint,
                                                           std::span<const int32_t> tokens,
                                                           std::span<const int32_t> types,
                                                           int64_t positions) const = 0;
  /// Fails on a model that predicts no next token.
  [[nodiscard]] virtual Result<std::unique_ptr<Distiller>> distiller(const Checkpoint& teacher,
                                                                     const DistillerOptions& options) const = 0;
};

/// Loads the plugin: the file that the environment's LISSOM_ENGINE names, else liblissom_engine.so beside the
/// program or in ../lib/lissom from there. The error says where it was looked for and how to build it.
[[nodiscard]] Result<std::shared_ptr<const Engine>> load_engine();

}  // namespace lissom
