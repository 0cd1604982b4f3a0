#pragma once
// Where a compressed model lost its quality: weights, hidden states, logits, and what comes back when a part
// gets the base's weights again. docs/diagnose.md defines the figures and the rule of the verdict.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/windows.h"
#include "lissom/eval.h"
#include "lissom/model.h"
#include "lissom/progress.h"
#include "lissom/result.h"

namespace lissom {

/// A part of a model, as PartGain::block and the like have it: a block's number, or one of these.
inline constexpr int64_t kEmbeddings = -1, kHead = -2;

/// The decoded weights of a tensor, against the base's.
struct TensorDifference {
  std::string name, codec, base_codec;
  Shape shape;
  int64_t block = kEmbeddings;  ///< of "blk.12.attn_q.weight": 12; kHead: output.weight and output_norm
  double bits = 0;              ///< stored, per weight
  double relative_error = 0;    ///< √(Σ(ŵ-w)²/Σw²)
  double cosine = 1;            ///< of the two as vectors
  double norm_ratio = 1;        ///< ‖ŵ‖/‖w‖
  int64_t not_finite = 0;       ///< values of ŵ that are no numbers; they are left out above
  int64_t worst_expert = -1;    ///< of a 3-D tensor, by relative error
  double expert_error = 0;      ///< of that one
  /// Error per the codec's usual error, over that of its peers (the same tensor in other blocks).
  double to_peers = 1;
  bool outlier = false;
  bool blatant = false;  ///< an outlier so far off that its weights alone tell
};

/// Hidden states of the two, means over all tokens of figures of one token.
struct StateDifference {
  double cosine = 1;
  double relative_error = 0;  ///< ‖x̂-x‖/‖x‖
  double norm_ratio = 1;      ///< ‖x̂‖/‖x‖
  bool finite = true;         ///< of x̂
};

struct LayerDifference {
  int64_t block = kEmbeddings;
  StateDifference state;  ///< after the block, in two runs side by side: what has come together up to here
  StateDifference own;    ///< of what the block adds when both are fed the base's hidden state
  double norm = 0;        ///< mean ‖x‖ of the base
  double to_peers = 1;    ///< own.relative_error over the blocks' median
  bool outlier = false;
};

struct LogitDifference {
  bool measured = false;
  double cosine = 1;  ///< mean over scored positions, of rows less their mean: softmax knows no offset
  double mse = 0;     ///< mean square of the difference of such rows
  EvalResult eval;    ///< as `lissom eval` has it
};

/// What comes back when a part of the compressed model has the base's weights.
struct PartGain {
  std::string name;  ///< "block 12", "embeddings", "head", or a tensor's name
  int64_t block = kEmbeddings;
  double loss = 0;                  ///< of the model so repaired
  double gain = 0, gain_error = 0;  ///< the compressed model's loss less this, paired; its standard error
  double share = 0;                 ///< gain over the compressed model's loss
};

struct Scan {
  bool measured = false, complete = false;
  /// "kld": mean KL(base‖model) of a position in nats; "hidden": mean relative error of a token's last hidden
  /// state, for models without next-token logits.
  std::string measure;
  int64_t positions = 0;
  double loss = 0;  ///< of the compressed model
  double estimated_seconds = 0, seconds = 0;
  std::vector<PartGain> parts, tensors;  ///< in the order in which they were measured
};

struct Culprit {
  std::string name;
  int64_t block = kEmbeddings;
  double to_peers = 1;
  bool confirmed = false;  ///< by a significant gain
  double gain = 0, share = 0;
  std::string why;
};

struct Diagnosis {
  std::vector<TensorDifference> tensors;  ///< in the graph's order
  std::vector<LayerDifference> layers;    ///< embeddings, then every block
  LogitDifference logits;
  Scan scan;
  std::vector<Culprit> culprits;
  double repaired_loss = 0;  ///< with all culprits restored at once; where there are any and a scan
  std::string summary;       ///< the verdict in one sentence
  int64_t windows = 0, tokens = 0;
  bool interrupted = false;  ///< stopped on request: what is here is what was measured
};

struct DiagnoseOptions {
  bool all_tensors = false;   ///< restore each tensor, not those of the worst blocks alone
  double scan_seconds = 300;  ///< at most; 0: no scan
  RuntimeOptions runtime;
};

/// Fails where the two are not the same model, naming both files and what differs.
[[nodiscard]] Result<void> check_same_model(const Checkpoint& base, const Checkpoint& model);
/// Fills `found` as it goes; a stop on request is no error. Windows have at most the model's context.
[[nodiscard]] Result<void> diagnose(const Checkpoint& base, const Checkpoint& model, const Windows& windows,
                                    const DiagnoseOptions& options, const Progress& progress, Diagnosis& found);

/// "blk.12.attn_q.weight" → 12; kHead for output.weight, output_norm.* and a classifier's; else kEmbeddings.
[[nodiscard]] int64_t block_of(std::string_view tensor);
/// "blk.12.attn_q.weight" → "attn_q.weight"; other names as they are.
[[nodiscard]] std::string_view role_of(std::string_view tensor);
/// "block 12", "embeddings", "head".
[[nodiscard]] std::string part_name(int64_t block);

}  // namespace lissom
