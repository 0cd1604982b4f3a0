#pragma once
// Learns better values for the same bytes: the model that will be written is trained to say what its source
// says.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lissom/compress.h"
#include "lissom/engine.h"
#include "lissom/progress.h"

namespace lissom {

/// Text to learn from: whole windows of one length, one after the other.
struct DistillText {
  std::vector<int32_t> tokens;
  int64_t length = 512;
  [[nodiscard]] int64_t windows() const { return static_cast<int64_t>(tokens.size()) / length; }
};

struct DistillOptions {
  int64_t tokens = 0;          ///< to read in all; windows come in a seeded order, and again when all were read
  int64_t windows_a_step = 1;  ///< whose gradients make one step
  /// Adam's step, in units of each tensor's root mean square; falls to 0 by a cosine. From a divergence of less
  /// than 0.15 nats it is that much less: steps are as large whatever there is to gain.
  double rate = 5e-4;
  uint64_t seed = 0;
  int threads = 0;
  std::string key;  ///< names all that the result depends on; one line
  double seconds_between_saves = 120;
};

/// What became of one matrix: errors of its weights, as TensorReport has them.
struct DistilledTensor {
  std::string tensor;
  double relative_error = 0, weighted_relative_error = 0;
};

/// What was done, for the report.
struct Distillation {
  int64_t tokens = 0, steps = 0, resumed_steps = 0;
  int64_t skipped = 0;                 ///< steps without a finite loss or gradient
  double first_kld = 0, last_kld = 0;  ///< nats, over the first and the last tenth of the steps
  /// Over windows that come after those that were read: of what was learned, and of what it began with. Where
  /// the former is not less, the latter is what `state` holds.
  double learned_kld = 0, begun_kld = 0;
  double seconds = 0;
  std::vector<DistilledTensor> tensors = {};
};

/// Quantization-aware distillation (Hinton et al. 2015; straight-through estimation, Bengio et al. 2013) of any
/// codec: each weight has a latent F32 value; a step rounds the latents to what the file can hold, takes the
/// gradient of KL(source ‖ rounded model), and moves the latents by Adam as if rounding were the identity.
/// Norms and biases are learned with them. A codec of less than 8 bits keeps its grid (scales, minima), so that
/// a step changes codes alone.
///
/// Latents begin with the source's weights and grids with what the codec's search chooses for them; or, where
/// `start` has the tensor's bytes in its codec, with the grid of these and with the F32 values of
/// latent_name(), which need not be what the bytes decode to: how near they are to the border of a code is what
/// lets a small step change it. A codebook's codes, which are several weights each, then stay as they are:
/// small steps of single weights harm them, and the other tensors learn to make up for what they lose.
///
/// What the file is to hold is left in the GGUF file `state`, in the plan's codecs (CompressOptions::learned);
/// a run that was stopped goes on from it, to the same bytes for the same key and number of threads. Errors: an
/// unusable `state` is not one (the work begins anew); a disk that is full, a model that the engine cannot run,
/// no finite step at all.
[[nodiscard]] Result<Distillation> distill(const Checkpoint& source, const Plan& plan,
                                           const std::optional<Importance>& importance, const Engine& engine,
                                           const DistillText& text, const TensorSource* start,
                                           const std::filesystem::path& state, const DistillOptions& options,
                                           const Progress& progress);

/// Under which name a start has a tensor's latents.
[[nodiscard]] std::string latent_name(const std::string& tensor);

/// Bytes that distill() holds at most, the engine's activations included.
[[nodiscard]] uint64_t distill_memory(const Checkpoint& source, int64_t window, int64_t windows_a_step);

}  // namespace lissom
