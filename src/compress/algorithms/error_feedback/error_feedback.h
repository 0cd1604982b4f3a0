#pragma once
// Error feedback (GPTQ, arXiv 2210.17323; LDLQ, arXiv 2307.13304) into the grid of any codec of blocks: what
// rounding a column loses is made up for by the columns that are rounded after it, as the inputs' second
// moments H = XᵀX say. docs/compress.md tells how it goes and what it gains.

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "compress/calibrate.h"
#include "compress/source.h"
#include "lissom/compress.h"
#include "lissom/engine.h"
#include "lissom/tokenizer.h"

namespace lissom {

struct FeedbackOptions {
  CalibrationOptions calibration;
  int threads = 0;
  /// Weighs tokens by Fisher information (fisher_weights.h); null: they count alike.
  const Engine* engine = nullptr;
  bool by_block = false;  ///< EngineOptions::by_block
  std::string key;        ///< names all that the result depends on but what is here; one line without quotes
  /// What may be added to H's diagonal, in units of its mean over tokens as token_limit has them. For each
  /// matrix that is taken which loses least on text that H has not seen, over some of its rows. Sparse
  /// codebooks want the large ones: what their vectors lose is too much for other columns to make up for.
  std::vector<double> dampings = {0.01, 0.1, 0.3, 1};
  bool latents = false;  ///< leaves, beside the bytes, the F32 latents that distill() begins with
  int refinements = 1;   ///< passes of block coordinate descent
  /// In the damping's unit and where rows are judged, a token's squares count no more than this many times the
  /// median token's of its chunk. An attention sink's are a hundred thousand times larger: with them in the
  /// unit the damping drowns all others, and without them in H the sink's outputs go astray.
  double token_limit = 4;
};

/// What became of one tensor.
struct FeedbackTensor {
  std::string tensor;
  double relative_error = 0, weighted_relative_error = 0;  ///< of the weights, as TensorReport has them
  /// tr((W-Ŵ)·H·(W-Ŵ)ᵀ) on the held-out tenth of the chunks, over that of the codec's own search.
  double validation_ratio = 1;
  std::string note = {};  ///< the damping, and how many rows are the search's
};
struct FeedbackResult {
  std::vector<FeedbackTensor> tensors;
  int64_t chunks = 0, skipped_chunks = 0, resumed_tensors = 0;
  int64_t shared = 0;  ///< tensors of the plan that are left to the search: experts, and layers' shared ones
  double seconds = 0;
};

/// Writes to `state` a GGUF of the encoded bytes (for CompressOptions::learned) of each matrix of the plan that
/// is read as a linear's weight once and is stored in less than 8 bits. The model goes by a stage at a time:
/// of weights, Hessians and activations only those at work are held. A chunk that gives values that are not
/// finite is left out from there on, and counted. No row is worse on the held-out chunks than what the codec's
/// search gives. `state`.journal lies beside it until remove_feedback_state(); a run that was stopped goes on
/// from there, to the same bytes (with an engine, for the same number of threads). `means`: the importance that
/// the search is given.
[[nodiscard]] Result<FeedbackResult> error_feedback(const Checkpoint& checkpoint, const Plan& plan,
                                                    const Means& means, const Tokenizer& tokenizer,
                                                    std::string_view text, const std::filesystem::path& state,
                                                    const FeedbackOptions& options, const Progress& progress);
void remove_feedback_state(const std::filesystem::path& state);

/// Whether the entry's codec loses enough for feedback to be of use.
[[nodiscard]] bool is_fed_back(const PlanEntry& entry);

/// Bytes that error_feedback() holds at most beside the model's stage at work.
[[nodiscard]] uint64_t error_feedback_memory(const Checkpoint& checkpoint, const Plan& plan, int64_t tokens);

}  // namespace lissom
