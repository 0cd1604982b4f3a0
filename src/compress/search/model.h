#pragma once
// What the search expects of a plan: damage of each tensor in each form, summed, and scaled by what plans
// turned out to do.

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "compress/search/candidates.h"
#include "compress/search/solver.h"
#include "lissom/eval.h"

namespace lissom::search {

/// The mean KL of a plan is about
///   scale(S) · S,  S = Σ damage(t, c),
///   damage(t, c) = correction(g) · (group(g) · share(t) · error(t, c) / error(t, reference) · factor(c) +
///   int8)
/// for tensor t of group g in codec c. group(g) is measured: the KL of the model in which the group alone is in
/// its reference codecs. share(t) is t's part of the group's errors. factor(c) is measured: how much more c
/// does to the model than its error of weights tells. int8 is g's part of what rounding activations costs, for
/// codecs whose kernels do that.
class DamageModel {
 public:
  DamageModel() = default;
  DamageModel(const std::vector<SearchTensor>* tensors, const std::vector<Group>* groups);

  void set_group(size_t group, double kld) { group_[group] = std::max(kld, 0.0); }
  void set_factor(const std::string& codec, double factor) { factor_[codec] = factor; }
  /// Of a plan whose matrices all round activations.
  void set_activations(double kld) { activations_ = std::max(kld, 0.0); }
  /// Multiplies.
  void correct(size_t group, double factor);
  /// A plan's mean KL was measured.
  void learn(const Picks& picks, double kld);

  [[nodiscard]] double damage(size_t tensor, size_t candidate) const;
  [[nodiscard]] double damage(const Picks& picks) const;
  [[nodiscard]] double damage_of_group(size_t group, const Picks& picks) const;
  /// Mean KL of a plan with this damage.
  [[nodiscard]] double predict(double damage) const;
  /// The damage whose prediction is this.
  [[nodiscard]] double damage_for(double kld) const;

  /// The choices that are not dominated, and of each the candidate's index.
  [[nodiscard]] Items items() const;
  [[nodiscard]] Picks candidates_of(const Picks& choices) const;

 private:
  struct Known {
    Picks picks;
    double kld;
  };
  [[nodiscard]] double scale(double damage) const;
  void scale_again();

  const std::vector<SearchTensor>* tensors_ = nullptr;
  const std::vector<Group>* groups_ = nullptr;
  std::vector<size_t> group_of_;
  std::vector<double> share_, group_, correction_;
  std::map<std::string, double> factor_;
  double activations_ = 0;
  std::vector<Known> known_;
  std::vector<std::pair<double, double>> scales_;  ///< ln damage, ln scale; ascending
};

}  // namespace lissom::search
