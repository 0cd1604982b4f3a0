#pragma once
// The steps of a diagnosis.

#include <set>
#include <span>
#include <vector>

#include "base/threads.h"
#include "eval/diagnose/diagnose.h"
#include "eval/staged.h"

namespace lissom {

/// Every tensor of the graph that the two have, decoded a slab of rows at a time.
[[nodiscard]] Result<void> compare_tensors(const Checkpoint& base, const Checkpoint& model, ThreadPool& pool,
                                           const Progress& progress, Diagnosis& found);

/// What the repaired models of a scan are held to: some scored positions and what the base says there.
struct ScanTarget {
  int64_t windows = 0;
  struct Row {
    int64_t window, position;
  };
  std::vector<Row> rows;
  bool logits = true;            ///< else last hidden states
  std::vector<float> reference;  ///< rows × vocab, or rows × width
};

struct Pair {
  StagedModel &base, &model;
};
/// Hidden states, own errors and logits; a part of each model is in memory at a time. Fills `target` for a scan
/// of the first windows.
[[nodiscard]] Result<void> compare_states(const Pair& pair, const Windows& windows, ThreadPool& pool,
                                          const Progress& progress, Diagnosis& found, ScanTarget& target);

/// The compressed model whole in memory, parts of which are given the base's weights.
class Scanner {
 public:
  Scanner(StagedModel& model, const Checkpoint& base, const Windows& windows, const ScanTarget& target,
          ThreadPool& pool, Diagnosis& found);
  /// Parts in the order of suspicion, then tensors, until all are done or the time is over.
  [[nodiscard]] Result<void> run(const DiagnoseOptions& options, const Progress& progress);
  /// All of these at once.
  [[nodiscard]] Result<double> restored(const std::vector<WeightId>& weights);

 private:
  struct Item {
    std::string name;
    int64_t block;
    std::vector<WeightId> weights;
  };
  [[nodiscard]] Result<void> prepare();
  [[nodiscard]] Result<std::vector<double>> losses(const std::vector<WeightId>& restored);
  [[nodiscard]] Result<std::vector<double>> score(const std::vector<float>& last_states);
  [[nodiscard]] std::vector<Item> parts() const;
  [[nodiscard]] std::vector<Item> tensors(bool all) const;
  [[nodiscard]] double seconds_of(const Item& item) const;
  [[nodiscard]] Result<bool> measure(const std::vector<Item>& items, const char* stage, double until,
                                     const Progress& progress, std::vector<PartGain>& out);

  StagedModel& model_;
  const Checkpoint& base_;
  const Windows& windows_;
  const ScanTarget& target_;
  ThreadPool& pool_;
  Diagnosis& found_;
  std::shared_ptr<const TensorSource> own_;  ///< the compressed model's tensors
  std::vector<WeightId> restored_;           ///< now
  std::vector<bool> differs_;                ///< weights whose values are not the base's
  int64_t kept_every_ = 1;                   ///< blocks between two kept states
  std::vector<std::vector<float>> kept_;     ///< all windows' states before block i·kept_every_
  std::vector<double> losses_;               ///< of the compressed model, by row
  double block_seconds_ = 0, head_seconds_ = 0;
};

/// Sets to_peers and outlier of tensors and layers.
void find_outliers(Diagnosis& found);
/// Names culprits from what was measured, and sums up.
void judge(Diagnosis& found);
/// The sentence, once repaired_loss is known.
void summarize(Diagnosis& found);

}  // namespace lissom
