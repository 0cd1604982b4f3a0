#pragma once
// The source model in memory, some of whose tensors are replaced, and how far its logits then are from its own:
// what the search measures, end to end. The parts before the first replaced tensor are not run again.

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/threads.h"
#include "compress/source.h"
#include "data/windows.h"
#include "eval/staged.h"
#include "lissom/eval.h"
#include "lissom/progress.h"

namespace lissom::search {

/// Bytes to stand in for a tensor's.
struct Variant {
  std::string codec;
  std::vector<std::byte> bytes;
  /// Run in floating point on the values that the bytes decode to: what the weights lose, without the rounding
  /// of activations that the codec's kernels do.
  bool decoded = false;
};
/// By tensor name. Two maps differ where their pointers do.
using Variants = std::map<std::string, std::shared_ptr<const Variant>>;

/// The tensor encoded as the file will hold it.
[[nodiscard]] Result<std::shared_ptr<const Variant>> encode_variant(const Checkpoint& checkpoint, size_t index,
                                                                    const std::string& codec, bool decoded,
                                                                    const Means& means, ThreadPool& pool);

/// Windows of a text by their numbers.
struct ProbeTexts {
  Windows windows;
  std::vector<int64_t> measure;  ///< sensitivities are measured on these …
  std::vector<int64_t> verify;   ///< … and plans are held to these
};
/// Evenly spread over the text, none of one among the other unless there is only one window.
void choose_windows(int64_t measure, int64_t verify, ProbeTexts& texts);

class Probe {
 public:
  enum class Text { measure, verify };
  /// Loads the source (F32 matrices as BF16) and runs the texts through it. At most 256 MiB of its logits are
  /// kept for each text: positions are thinned evenly. The pool and the checkpoint outlive it. Errors: a model
  /// that predicts no next token; logits that are not finite; StagedModel's.
  [[nodiscard]] static Result<std::unique_ptr<Probe>> make(const Checkpoint& checkpoint, ProbeTexts texts,
                                                           int threads, ThreadPool& pool,
                                                           const Progress& progress);

  /// Mean KL(source‖model) in nats with these tensors replaced.
  [[nodiscard]] Result<Estimate> divergence(Text text, const Variants& variants);
  /// Says what the next divergences on Text::measure will mostly have in common.
  [[nodiscard]] Result<void> stay_near(const Variants& variants);

 private:
  struct Row {
    size_t window;  ///< of the text's list
    int64_t position;
  };
  struct Judge {
    std::vector<int64_t> windows;
    std::vector<Row> rows;
    std::vector<float> reference;  ///< rows × vocab
  };
  Probe(const Checkpoint& checkpoint, ProbeTexts texts, ThreadPool& pool)
      : checkpoint_(checkpoint), texts_(std::move(texts)), pool_(pool) {}
  void choose_rows(Judge& judge) const;
  [[nodiscard]] Result<void> refer(Judge& judge);
  [[nodiscard]] Result<void> apply(const Variants& variants);
  [[nodiscard]] Result<std::vector<float>> states_of(const Judge& judge, bool keep);
  [[nodiscard]] Result<void> run(const Judge& judge, StageRange stages, std::vector<float>& states);
  [[nodiscard]] Result<void> logits(const Judge& judge, const std::vector<float>& states,
                                    const std::function<void(size_t, std::span<const float>)>& f);
  [[nodiscard]] Result<std::vector<double>> score(const Judge& judge, const std::vector<float>& states);
  [[nodiscard]] static Estimate estimate(const Judge& judge, const std::vector<double>& losses);
  /// -1: the embeddings; else the first block that reads a tensor in which the two differ.
  [[nodiscard]] int64_t first_difference(const Variants& a, const Variants& b) const;
  [[nodiscard]] int64_t window_floats() const { return texts_.windows.context * model_->widest(); }

  const Checkpoint& checkpoint_;
  ProbeTexts texts_;
  ThreadPool& pool_;
  std::unique_ptr<StagedModel> model_;
  std::vector<int64_t> first_block_;  ///< by weight: the first that reads it; -1 embeddings; blocks(): the head
  Judge measure_, verify_;
  Variants now_, near_;
  int64_t kept_every_ = 1;
  std::vector<std::vector<float>> kept_;  ///< states before block i·kept_every_, of near_
};

}  // namespace lissom::search
