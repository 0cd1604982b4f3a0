#include "compress/search/measure.h"

#include <fmt/format.h>

#include <algorithm>

#include "compress/digest.h"
#include "eval/diagnose/diagnose.h"

namespace lissom::search {
namespace {

/// A codec above this loses too little for its own factor to be measured.
constexpr double kMeasuredBits = 8;
/// Activations' rounding is measured where all matrices have at most so many bits, and the most of these.
constexpr double kPlainBits = 9;
/// Factors beyond these are chance.
constexpr double kLeastFactor = 0.25, kMostFactor = 6;
/// Blocks in which codecs are compared with each other.
constexpr int64_t kComparedBlocks = 5;

double bits_of(const SearchTensor& tensor, size_t candidate) {
  return 8.0 * static_cast<double>(tensor.candidates[candidate].bytes) /
         static_cast<double>(tensor.shape.elements());
}

}  // namespace

Result<void> Measurements::begin(ProbeTexts texts, int64_t expected) {
  texts_ = std::move(texts);
  expected_ = expected;
  LISSOM_TRY(memo_, Memo::open(options_.journal, run_line()));
  return {};
}

std::string Measurements::run_line() const {
  std::string windows;
  for (const int32_t t : texts_.windows.tokens) windows += fmt::format("{} ", t);
  std::string statistics;
  for (const auto& [name, values] : means_) {
    statistics += name;
    statistics.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
  }
  return fmt::format(
      R"({{"search":1,"version":"{}","key":"{}","text":"{}","statistics":"{}","context":{},"windows":[{},{}],"stretches":{}}})",
      LISSOM_VERSION, options_.key, sha256_hex(windows).substr(0, 32), sha256_hex(statistics).substr(0, 32),
      texts_.windows.context, texts_.measure.size(), texts_.verify.size(), options_.effort.stretches);
}

std::string Measurements::digest_of(const Picks& picks) const {
  std::string text;
  for (size_t t = 0; t < picks.size(); ++t) text += tensors_[t].candidates[picks[t]].codec + " ";
  return sha256_hex(text).substr(0, 24);
}

/// The journal's numbers, or those that `measure` gives, which are then in the journal.
Result<Estimate> Measurements::remember(const std::string& name,
                                        const std::function<Result<Estimate>()>& measure) {
  if (progress_.stop_requested()) return tl::unexpected(Error{ErrorKind::cancelled, "stopped"});
  ++asked_;
  progress_.report("search", std::min(asked_, expected_ - 1), expected_, name);
  if (const std::vector<double>* known = memo_->find(name)) {
    if (known->size() != 2) return bad_input(options_.journal.string() + ": not a journal of this search");
    ++remembered_;
    return Estimate{(*known)[0], (*known)[1]};
  }
  if (!probe_) {
    LISSOM_TRY(probe_, Probe::make(checkpoint_, texts_, options_.threads, pool_, progress_));
  }
  LISSOM_TRY(const Estimate kld, measure());
  LISSOM_CHECK(memo_->add(name, {kld.value, kld.error}));
  return kld;
}

Result<void> Measurements::encode(size_t tensor, const std::string& codec, bool decoded, Variants& variants) {
  const SearchTensor& t = tensors_[tensor];
  LISSOM_TRY(variants[t.name], encode_variant(checkpoint_, t.index, codec, decoded, means_, pool_));
  return {};
}

/// Mean KL of the source with these tensors in these candidates, by their weights alone.
Result<double> Measurements::weights_alone(const std::string& name, const Chosen& chosen) {
  LISSOM_TRY(const Estimate kld, remember(name, [&]() -> Result<Estimate> {
               LISSOM_CHECK(probe_->stay_near({}));
               Variants variants;
               for (const auto& [tensor, candidate] : chosen)
                 LISSOM_CHECK(encode(tensor, tensors_[tensor].candidates[candidate].codec, true, variants));
               return probe_->divergence(Probe::Text::measure, variants);
             }));
  return kld.value;
}

Result<void> Measurements::fill(DamageModel& model) {
  for (size_t g = 0; g < groups_.size(); ++g) {
    Chosen chosen;
    for (const size_t t : groups_[g].tensors) chosen.emplace_back(t, tensors_[t].reference);
    LISSOM_TRY(const double kld, weights_alone("group " + groups_[g].name, chosen));
    model.set_group(g, kld);
  }
  LISSOM_CHECK(measure_codecs(model));
  const Picks plain = plain_plan();
  LISSOM_TRY(const Estimate kld, plan(Probe::Text::measure, plain));
  model.set_activations(kld.value - model.damage(plain));
  return {};
}

Picks Measurements::plain_plan() const {
  Picks picks;
  for (const SearchTensor& t : tensors_) {
    size_t pick = 0;
    for (size_t c = 0; c < t.candidates.size(); ++c)
      if (!t.candidates[c].dominated && bits_of(t, c) <= kPlainBits) pick = c;
    picks.push_back(pick);
  }
  return picks;
}

/// Tensors of some blocks in each codec, against the same in their references.
Result<void> Measurements::measure_codecs(DamageModel& model) {
  const int64_t layers = std::max<int64_t>(checkpoint_.config.layers, 1);
  const int64_t step = std::max<int64_t>(1, layers / kComparedBlocks);
  std::map<std::string, Chosen> by_codec;
  std::map<std::string, double> factors;
  for (size_t t = 0; t < tensors_.size(); ++t) {
    const int64_t block = block_of(tensors_[t].name);
    if (block < 0 || block % step != step / 2) continue;
    for (size_t c = 0; c < tensors_[t].candidates.size(); ++c) {
      const Candidate& candidate = tensors_[t].candidates[c];
      if (!candidate.dominated && bits_of(tensors_[t], c) < kMeasuredBits)
        by_codec[candidate.codec].emplace_back(t, c);
    }
  }
  for (const auto& [codec, chosen] : by_codec) {
    Chosen references;
    double expected = 0, expected_reference = 0;
    std::string which;
    for (const auto& [t, c] : chosen) {
      references.emplace_back(t, tensors_[t].reference);
      expected += model.damage(t, c);
      expected_reference += model.damage(t, tensors_[t].reference);
      which += tensors_[t].name + " ";
    }
    if (references == chosen) continue;
    LISSOM_TRY(const double kld, weights_alone("codec " + codec, chosen));
    LISSOM_TRY(const double reference,
               weights_alone("references " + sha256_hex(which).substr(0, 16), references));
    if (expected <= 0 || expected_reference <= 0 || reference <= 0) continue;
    factors[codec] = std::clamp(kld / expected * (expected_reference / reference), kLeastFactor, kMostFactor);
  }
  for (const auto& [codec, factor] : factors) model.set_factor(codec, factor);
  return {};
}

/// As the file will hold them. What the plan before had in the same codec is taken over.
Result<Variants> Measurements::variants_of(const Picks& picks) {
  Variants variants;
  for (size_t t = 0; t < picks.size(); ++t) {
    const SearchTensor& tensor = tensors_[t];
    const std::string& codec = tensor.candidates[picks[t]].codec;
    if (codec == checkpoint_.tensors->tensors()[tensor.index].type) continue;
    const auto it = last_.find(tensor.name);
    if (it != last_.end() && it->second->codec == codec) {
      variants[tensor.name] = it->second;
    } else {
      LISSOM_CHECK(encode(t, codec, false, variants));
    }
  }
  last_ = variants;
  return variants;
}

Result<Estimate> Measurements::plan(Probe::Text text, const Picks& picks) {
  const std::string what = text == Probe::Text::verify ? "plan " : "activations ";
  return remember(what + digest_of(picks), [&]() -> Result<Estimate> {
    LISSOM_TRY(const Variants variants, variants_of(picks));
    return probe_->divergence(text, variants);
  });
}

Result<double> Measurements::near(const Picks& picks, const Picks& other, const Group* restored) {
  const std::string name = "near " + digest_of(other) + " plan " + digest_of(picks) +
                           (restored == nullptr ? "" : " restored " + restored->name);
  LISSOM_TRY(const Estimate kld, remember(name, [&]() -> Result<Estimate> {
               LISSOM_TRY(const Variants around, variants_of(other));
               LISSOM_CHECK(probe_->stay_near(around));
               LISSOM_TRY(Variants variants, variants_of(picks));
               if (restored != nullptr)
                 for (const size_t t : restored->tensors) variants.erase(tensors_[t].name);
               return probe_->divergence(Probe::Text::measure, variants);
             }));
  return kld.value;
}

}  // namespace lissom::search
