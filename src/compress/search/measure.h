#pragma once
// What the search asks of the model: each measurement once, and after a kill out of the journal.

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "compress/search/memo.h"
#include "compress/search/model.h"
#include "compress/search/probe.h"
#include "compress/search/search.h"

namespace lissom::search {

class Measurements {
 public:
  /// References outlive it. `expected`: how many there will be, for the progress.
  Measurements(const Checkpoint& checkpoint, const Means& means, const std::vector<SearchTensor>& tensors,
               const std::vector<Group>& groups, const Options& options, ThreadPool& pool,
               const Progress& progress)
      : checkpoint_(checkpoint),
        means_(means),
        tensors_(tensors),
        groups_(groups),
        options_(options),
        pool_(pool),
        progress_(progress) {}
  /// Opens the journal.
  [[nodiscard]] Result<void> begin(ProbeTexts texts, int64_t expected);

  /// Sensitivity of each group, factors of codecs, and what rounding activations costs.
  [[nodiscard]] Result<void> fill(DamageModel& model);
  /// The richest plan of quantized codecs.
  [[nodiscard]] Picks plain_plan() const;

  /// Mean KL of a plan as the file will hold it.
  [[nodiscard]] Result<Estimate> plan(Probe::Text text, const Picks& picks);
  /// The same on the windows of sensitivities, as a change of another plan; with the source's weights in
  /// `restored`, where it is not null.
  [[nodiscard]] Result<double> near(const Picks& picks, const Picks& other, const Group* restored);

  [[nodiscard]] int64_t asked() const { return asked_; }
  [[nodiscard]] int64_t remembered() const { return remembered_; }

 private:
  using Chosen = std::vector<std::pair<size_t, size_t>>;  ///< tensor, candidate
  [[nodiscard]] std::string run_line() const;
  [[nodiscard]] std::string digest_of(const Picks& picks) const;
  [[nodiscard]] Result<Estimate> remember(const std::string& name,
                                          const std::function<Result<Estimate>()>& measure);
  [[nodiscard]] Result<void> encode(size_t tensor, const std::string& codec, bool decoded, Variants& variants);
  [[nodiscard]] Result<Variants> variants_of(const Picks& picks);
  [[nodiscard]] Result<double> weights_alone(const std::string& name, const Chosen& chosen);
  [[nodiscard]] Result<void> measure_codecs(DamageModel& model);

  const Checkpoint& checkpoint_;
  const Means& means_;
  const std::vector<SearchTensor>& tensors_;
  const std::vector<Group>& groups_;
  const Options& options_;
  ThreadPool& pool_;
  const Progress& progress_;
  ProbeTexts texts_;
  std::unique_ptr<Memo> memo_;
  std::unique_ptr<Probe> probe_;  ///< once something has to be measured
  Variants last_;                 ///< of the plan before
  int64_t asked_ = 0, remembered_ = 0, expected_ = 1;
};

}  // namespace lissom::search
