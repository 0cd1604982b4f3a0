#pragma once
// How fast this machine is at a model's own shapes, in about two seconds: nothing of the model but its shapes
// and types is read, so that it need not be there yet.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "data/calibration.h"
#include "lissom/engine.h"
#include "lissom/model.h"
#include "lissom/result.h"
#include "lissom/runtime.h"

namespace lissom {

/// Seconds of the parts of a forward pass, for weights of some types.
struct ModelSpeed {
  double block_prompt = 0;    ///< one block, one token of a long prompt
  double head_prompt = 0;     ///< the head, one token among many
  double block_batch = 0;     ///< one block, one step of kMeasuredBatch sequences together
  double head_batch = 0;      ///< the head, the same
  double block_generate = 0;  ///< one block, one token alone
  double head_generate = 0;
  double load = 0;  ///< seconds to repack a byte of weights

  [[nodiscard]] double prompt(int64_t layers, double tokens, double wanted) const {
    return static_cast<double>(layers) * block_prompt * tokens + head_prompt * wanted;
  }
  /// One step that gives each of kMeasuredBatch sequences a token.
  [[nodiscard]] double batch_step(int64_t layers) const {
    return static_cast<double>(layers) * block_batch + head_batch;
  }
  [[nodiscard]] double generate(int64_t layers) const {
    return static_cast<double>(layers) * block_generate + head_generate;
  }
};
inline constexpr int64_t kMeasuredBatch = kSampledAtOnce;

/// Runs the first block and the first two blocks of the architecture, with weights of zeros in the types that
/// `tensors` names (for a block, those that most blocks have). Needs the memory of two blocks. Encoders have
/// no generation: those fields are 0.
[[nodiscard]] Result<ModelSpeed> measure_model(const Config& config, const std::vector<TensorInfo>& tensors,
                                               int threads);

/// Seconds to distill from a window of `tokens` (at most the model's context): both models' passes, the
/// gradients, and handing every weight over, without the encoding of the weights. Measured as measure_model()
/// does.
[[nodiscard]] Result<double> measure_distillation(const Engine& engine, const Config& config,
                                                  const std::vector<TensorInfo>& tensors, int64_t tokens,
                                                  int threads);

/// Seconds to encode one weight with all threads, from type `from` to codec `to`: decoding, the error that the
/// report tells and the journal's checksum included. cols: of the matrix.
[[nodiscard]] Result<double> measure_encoding(const std::string& from, const std::string& to, int64_t cols,
                                              bool importance, int threads);

/// Seconds to take the SHA-256 of one byte, with one thread.
[[nodiscard]] double measure_digest();
/// Seconds to draw one token out of `vocab` as calibration text is drawn, with one thread.
[[nodiscard]] double measure_sampling(int64_t vocab);
/// Seconds to compare one row of logits with another, with one thread.
[[nodiscard]] Result<double> measure_scoring(int64_t vocab);

}  // namespace lissom
