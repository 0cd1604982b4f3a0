#include "compress/source.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "lissom/codec.h"

namespace lissom {

Result<Means> means_of(const Checkpoint& checkpoint, const std::optional<Importance>& importance) {
  Means means;
  if (!importance) return means;
  for (const TensorInfo& info : checkpoint.tensors->tensors()) {
    const auto entry = importance->entries.find(info.name);
    if (entry == importance->entries.end()) continue;
    std::vector<float> mean = entry->second.mean_square();
    // A mixture's experts may have statistics of their own, one after the other.
    const int64_t matrices = info.shape.rank() == 3 ? info.shape[0] : 1;
    const auto values = static_cast<int64_t>(mean.size());
    if (values != info.shape.cols() && values != matrices * info.shape.cols())
      return bad_input(fmt::format("importance matrix: '{}' has {} values, the tensor {} columns", info.name,
                                   mean.size(), info.shape.cols()));
    if (std::ranges::any_of(mean, [](float m) { return !std::isfinite(m) || m < 0; }))
      return bad_input(fmt::format("importance matrix: '{}' holds a negative or non-finite value", info.name));
    means.emplace(info.name, std::move(mean));
  }
  if (means.empty()) return bad_input("importance matrix: none of its entries names a tensor of this model");
  return means;
}

void warn_of_quantized_source(const Plan& plan, const Progress& progress, std::vector<std::string>& warnings) {
  std::map<std::string, int64_t> weights;
  std::map<std::string, double> bits_of;
  int64_t total = 0;
  for (const PlanEntry& entry : plan.entries) {
    total += entry.shape.elements();
    const double bits = find_codec(entry.from)->bits_per_weight(entry.shape);
    if (bits >= 16) continue;
    weights[entry.from] += entry.shape.elements();
    bits_of[entry.from] = bits;
  }
  if (weights.empty()) return;
  const auto most = std::max_element(weights.begin(), weights.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  warnings.push_back(
      fmt::format("the source is already quantized: {:.0f}% of its weights are {} ({:.2f} bits). What is "
                  "measured here is lost on "
                  "top of what that lost; a full-precision source gives a better result.",
                  100.0 * static_cast<double>(most->second) / static_cast<double>(total), most->first,
                  bits_of[most->first]));
  progress.say(LogLevel::warning, warnings.back());
}

}  // namespace lissom
