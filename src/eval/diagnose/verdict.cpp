// Outliers among peers, and what makes one of them the culprit. docs/diagnose.md states the rule.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

#include "eval/diagnose/parts.h"
#include "lissom/codec.h"

namespace lissom {
namespace {

constexpr double kDeviations = 6;     ///< robust standard deviations above the peers
constexpr double kTensorScale = 0.1;  ///< least standard deviation of ln error: weights of one role are alike
constexpr double kLayerScale = 0.2;   ///< blocks are less so
constexpr double kLeastError = 1e-3;  ///< of weights: below lies what rounding to 16 bits costs
constexpr double kNormChange = 0.1;   ///< in ln ‖ŵ‖/‖w‖, from the peers'
constexpr size_t kFewPeers = 5;
constexpr double kShare = 0.1;        ///< of the loss, that restoring a tensor must bring back
constexpr double kMost = 0.5;         ///< of the loss, for a block whose weights look like the others'
constexpr double kUsual = 1.3;        ///< times the codec's usual error: what it may be by nature
constexpr double kBlatant = 3;        ///< times the peers' error
constexpr double kBlatantNorm = 0.4;  ///< in ln ‖ŵ‖/‖w‖, from the peers'
constexpr double kSignificant = 2;    ///< standard errors

double median(std::vector<double> values) {
  std::ranges::sort(values);
  const size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

/// Centre and width of most values, whatever a few others are.
struct Spread {
  double centre = 0, scale = 0;
};
Spread spread_of(const std::vector<double>& values, double least) {
  Spread s;
  s.centre = median(values);
  std::vector<double> distances;
  distances.reserve(values.size());
  for (const double v : values) distances.push_back(std::abs(v - s.centre));
  s.scale = std::max(1.4826 * median(distances), least);
  return s;
}

double usual_error(const TensorDifference& t) {
  const Codec* codec = find_codec(t.codec);
  return std::max(codec == nullptr ? 0.0 : codec->error_interval().high, kLeastError);
}

/// ln of the error per the codec's usual error. Of a mixture's tensor, that of its worst expert.
double unusual(const TensorDifference& t) {
  return std::log(std::max({t.relative_error, t.expert_error, kLeastError}) / usual_error(t));
}

double ln_norm(const TensorDifference& t) {
  return std::log(std::max(t.norm_ratio, 1e-6));
}

using Peers = std::vector<TensorDifference*>;

void find_among(const Peers& group, const Peers& peers) {
  std::vector<double> errors, norms;
  for (const TensorDifference* t : peers) {
    errors.push_back(unusual(*t));
    norms.push_back(ln_norm(*t));
  }
  const Spread error = spread_of(errors, kTensorScale), norm = spread_of(norms, kNormChange / kDeviations);
  for (TensorDifference* t : group) {
    t->to_peers = std::exp(unusual(*t) - error.centre);
    // Where the peers have hardly any error (they lie on the codec's own grid), a usual one is no fault.
    const double above = unusual(*t) - error.centre;
    const bool larger = above > kDeviations * error.scale && unusual(*t) > std::log(kUsual);
    const double change = std::abs(ln_norm(*t) - norm.centre);
    // Coarse codecs lose norm too: e² / 2 where values are the means of what they stand for.
    const bool scaled = change > kDeviations * norm.scale + usual_error(*t) * usual_error(*t);
    t->outlier = t->not_finite > 0 || larger || scaled;
    t->blatant = t->outlier && (t->to_peers >= kBlatant || change >= kBlatantNorm);
  }
}

std::string times(double ratio) {
  return fmt::format("{:.3g} × its peers' error", ratio);
}

const PartGain* gain_of(const std::vector<PartGain>& gains, const std::string& name) {
  const auto it = std::ranges::find(gains, name, &PartGain::name);
  return it == gains.end() ? nullptr : &*it;
}

bool significant(const PartGain& g) {
  return g.gain > kSignificant * g.gain_error && g.gain > 0;
}

std::string tensor_name(const TensorDifference& t) {
  if (t.worst_expert < 0 || t.expert_error < 1.5 * t.relative_error) return t.name;
  return fmt::format("{} (expert {})", t.name, t.worst_expert);
}

/// Values that are no numbers end everything else.
bool judge_not_finite(Diagnosis& found) {
  for (const TensorDifference& t : found.tensors) {
    if (t.not_finite == 0) continue;
    found.culprits.push_back({t.name, t.block, t.to_peers, true, 0, 0,
                              fmt::format("{} of its weights are not finite", t.not_finite)});
  }
  if (!found.culprits.empty()) return true;
  for (const LayerDifference& l : found.layers) {
    if (l.own.finite) continue;
    found.culprits.push_back({part_name(l.block), l.block, l.to_peers, true, 0, 0,
                              "its output is not finite on the base's hidden states"});
    return true;
  }
  return false;
}

void judge_tensors(Diagnosis& found) {
  for (const TensorDifference& t : found.tensors) {
    if (!t.outlier) continue;
    const PartGain* gain = gain_of(found.scan.tensors, t.name);
    Culprit c{tensor_name(t), t.block, t.to_peers, false, 0, 0, times(t.to_peers)};
    if (std::abs(ln_norm(t)) > kNormChange) c.why += fmt::format(", {:.3g} × the base's norm", t.norm_ratio);
    if (gain != nullptr) {
      c.confirmed = significant(*gain);
      c.gain = gain->gain;
      c.share = gain->share;
      const bool harmful = c.confirmed && c.share >= kShare;
      const bool needed = gain->gain < -kSignificant * gain->gain_error;
      if (!harmful && (!t.blatant || needed)) continue;
    } else if (!t.blatant) {
      continue;
    }
    c.why += c.confirmed       ? fmt::format("; restoring it brings back {:.0f}% of the loss", 100 * c.share)
             : gain != nullptr ? "; its effect on the loss is small"
                               : "; by its weights alone, its effect was not measured";
    found.culprits.push_back(std::move(c));
  }
}

/// Blocks that do harm though none of their tensors stands out.
void judge_blocks(Diagnosis& found) {
  for (const LayerDifference& l : found.layers) {
    const PartGain* gain = gain_of(found.scan.parts, part_name(l.block));
    const bool named =
        std::ranges::any_of(found.culprits, [&](const Culprit& c) { return c.block == l.block; });
    if (!l.outlier || named || gain == nullptr || gain->share < kMost || !significant(*gain)) continue;
    Culprit c{part_name(l.block), l.block, l.to_peers, true, gain->gain, gain->share, ""};
    c.why = fmt::format("{:.3g} × the blocks' own error; restoring it brings back {:.0f}% of the loss",
                        l.to_peers, 100 * c.share);
    // One of its tensors may have most of it.
    for (const PartGain& t : found.scan.tensors)
      if (t.block == l.block && t.gain >= kMost * gain->gain && significant(t))
        c.why += fmt::format("; {} alone {:.0f}%", t.name, 100 * t.share);
    found.culprits.push_back(std::move(c));
  }
}

std::string evenly(const Diagnosis& found) {
  const Scan& scan = found.scan;
  const char* unit = scan.measure == "kld" ? " nats" : "";
  if (scan.parts.empty()) return "No tensor and no block stands out against its peers.";
  const PartGain& most = *std::ranges::max_element(scan.parts, {}, &PartGain::gain);
  return fmt::format(
      "No culprit: the loss of {:.3g}{} is spread over the model. The most sensitive part is {}: restoring it "
      "brings back {:.0f}%.",
      scan.loss, unit, most.name, 100 * std::max(most.share, 0.0));
}

}  // namespace

void find_outliers(Diagnosis& found) {
  std::map<std::string, Peers, std::less<>> roles;
  Peers matrices, vectors;
  for (TensorDifference& t : found.tensors) {
    roles[std::string(role_of(t.name))].push_back(&t);
    (t.shape.rank() > 1 ? matrices : vectors).push_back(&t);
  }
  for (const auto& [role, group] : roles) {
    const Peers& alike = group.front()->shape.rank() > 1 ? matrices : vectors;
    find_among(group, group.size() >= kFewPeers ? group : alike);
  }
  std::vector<double> errors;
  for (const LayerDifference& l : found.layers)
    if (l.block >= 0) errors.push_back(std::log(l.own.relative_error + kLeastError));
  if (errors.size() < 2) return;
  const Spread spread = spread_of(errors, kLayerScale);
  for (LayerDifference& l : found.layers) {
    if (l.block < 0) continue;
    const double above = std::log(l.own.relative_error + kLeastError) - spread.centre;
    l.to_peers = std::exp(above);
    l.outlier = !l.own.finite || (errors.size() >= kFewPeers && above > kDeviations * spread.scale);
  }
}

void judge(Diagnosis& found) {
  found.culprits.clear();
  if (judge_not_finite(found)) return;
  judge_tensors(found);
  judge_blocks(found);
  std::ranges::stable_sort(found.culprits, [](const Culprit& a, const Culprit& b) { return a.gain > b.gain; });
}

void summarize(Diagnosis& found) {
  if (found.culprits.empty()) {
    found.summary = evenly(found);
    return;
  }
  std::string names;
  for (size_t i = 0; i < found.culprits.size() && i < 4; ++i)
    names += (i > 0 ? ", " : "") + found.culprits[i].name;
  if (found.culprits.size() > 4) names += fmt::format(" and {} more", found.culprits.size() - 4);
  found.summary = found.culprits.size() == 1 ? "The culprit is " + names + ": " + found.culprits[0].why + "."
                                             : "The culprits are " + names + ".";
  const bool confirmed = found.scan.measured && found.culprits.front().gain > 0;
  if (confirmed && !found.interrupted)
    found.summary += fmt::format(" Restored, the loss falls from {:.3g} to {:.3g}{}.", found.scan.loss,
                                 found.repaired_loss, found.scan.measure == "kld" ? " nats" : "");
}

}  // namespace lissom
