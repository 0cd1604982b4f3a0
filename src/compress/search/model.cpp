#include "compress/search/model.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace lissom::search {
namespace {

/// Keeps logarithms and quotients finite: no damage that matters is smaller.
constexpr double kLeast = 1e-9;

/// Whether the codec's kernels multiply by activations of 8 bits, here and in llama.cpp: all but floats' do.
bool rounds_activations(const std::string& codec) {
  return find_block_codec(codec)->block_weights() > 1;
}

}  // namespace

DamageModel::DamageModel(const std::vector<SearchTensor>* tensors, const std::vector<Group>* groups)
    : tensors_(tensors),
      groups_(groups),
      group_of_(tensors->size(), 0),
      share_(tensors->size(), 1),
      group_(groups->size(), 0),
      correction_(groups->size(), 1) {
  for (size_t g = 0; g < groups->size(); ++g) {
    double sum = 0;
    for (const size_t t : (*groups)[g].tensors) {
      const SearchTensor& tensor = (*tensors)[t];
      group_of_[t] = g;
      share_[t] = std::max(tensor.candidates[tensor.reference].error, kLeast);
      sum += share_[t];
    }
    for (const size_t t : (*groups)[g].tensors) share_[t] /= sum;
  }
}

double DamageModel::damage(size_t tensor, size_t candidate) const {
  const SearchTensor& t = (*tensors_)[tensor];
  const Candidate& c = t.candidates[candidate];
  const size_t group = group_of_[tensor];
  const double reference = std::max(t.candidates[t.reference].error, kLeast);
  const auto it = factor_.find(c.codec);
  double damage = group_[group] * share_[tensor] * c.error / reference * (it == factor_.end() ? 1 : it->second);
  if (rounds_activations(c.codec)) {
    const double all = std::max(std::accumulate(group_.begin(), group_.end(), 0.0), kLeast);
    damage += activations_ * group_[group] / all * share_[tensor];
  }
  return correction_[group] * damage;
}

double DamageModel::damage(const Picks& picks) const {
  double sum = 0;
  for (size_t t = 0; t < picks.size(); ++t) sum += damage(t, picks[t]);
  return sum;
}

double DamageModel::damage_of_group(size_t group, const Picks& picks) const {
  double sum = 0;
  for (const size_t t : (*groups_)[group].tensors) sum += damage(t, picks[t]);
  return sum;
}

void DamageModel::correct(size_t group, double factor) {
  correction_[group] *= factor;
  scale_again();
}

void DamageModel::learn(const Picks& picks, double kld) {
  std::erase_if(known_, [&](const Known& k) { return k.picks == picks; });
  known_.push_back({picks, kld});
  scale_again();
}

void DamageModel::scale_again() {
  scales_.clear();
  for (const Known& k : known_) {
    const double sum = std::max(damage(k.picks), kLeast);
    scales_.emplace_back(std::log(sum), std::log(std::max(k.kld, kLeast) / sum));
  }
  std::ranges::sort(scales_);
}

double DamageModel::scale(double damage) const {
  if (scales_.empty()) return 1;
  const double x = std::log(std::max(damage, kLeast));
  const auto above = std::ranges::lower_bound(scales_, x, {}, [](const auto& s) { return s.first; });
  if (above == scales_.begin()) return std::exp(above->second);
  const auto below = above - 1;
  if (above == scales_.end() || above->first - below->first < 1e-6) return std::exp(below->second);
  const double part = (x - below->first) / (above->first - below->first);
  return std::exp(below->second + part * (above->second - below->second));
}

double DamageModel::predict(double damage) const {
  return damage * scale(damage);
}

double DamageModel::damage_for(double kld) const {
  double low = std::log(kLeast), high = std::log(1e6);
  for (int i = 0; i < 60; ++i) {
    const double middle = (low + high) / 2;
    (predict(std::exp(middle)) > kld ? high : low) = middle;
  }
  return std::exp(low);
}

Items DamageModel::items() const {
  Items items(tensors_->size());
  for (size_t t = 0; t < items.size(); ++t) {
    const auto& candidates = (*tensors_)[t].candidates;
    for (size_t c = 0; c < candidates.size(); ++c)
      if (!candidates[c].dominated) items[t].push_back({candidates[c].bytes, damage(t, c)});
  }
  return items;
}

Picks DamageModel::candidates_of(const Picks& choices) const {
  Picks picks(choices.size());
  for (size_t t = 0; t < choices.size(); ++t) {
    const auto& candidates = (*tensors_)[t].candidates;
    size_t left = choices[t];
    for (size_t c = 0; c < candidates.size(); ++c) {
      if (candidates[c].dominated) continue;
      picks[t] = c;
      if (left-- == 0) break;
    }
  }
  return picks;
}

}  // namespace lissom::search
