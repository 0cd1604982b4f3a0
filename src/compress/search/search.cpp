#include "compress/search/search.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <set>

#include "compress/digest.h"
#include "compress/header.h"
#include "compress/search/memo.h"
#include "compress/search/model.h"
#include "compress/search/probe.h"
#include "eval/diagnose/diagnose.h"

namespace lissom::search {
namespace {

/// One-sided, 95%.
constexpr double kQuantile = 1.645;
/// A codec above this loses too little for its own factor to be measured.
constexpr double kMeasuredBits = 8;
/// Activations' rounding is measured where all matrices have at most so many bits, and the most of these.
constexpr double kPlainBits = 9;
/// Factors beyond these are chance.
constexpr double kLeastFactor = 0.25, kMostFactor = 6;
/// Of a group's sensitivity, in one correction.
constexpr double kLeastCorrection = 0.4, kMostCorrection = 2.5;
/// Room for what the header may gain: general.file_type, and its padding.
constexpr uint64_t kHeaderSlack = 96;
constexpr int64_t kCells = int64_t{1} << 16;
/// Blocks in which codecs are compared with each other.
constexpr int64_t kComparedBlocks = 5;
/// Budgets of the frontier.
constexpr int kBudgets = 16;

tl::unexpected<Error> limit_error(std::string message) {
  return tl::unexpected(Error{ErrorKind::limit, std::move(message)});
}

double megabytes(uint64_t bytes) {
  return static_cast<double>(bytes) / 1e6;
}

/// A plan that was run.
struct Tried {
  Picks picks;
  uint64_t bytes = 0;  ///< of the choices
  double predicted = 0;
  Estimate kld;
  std::string name;
  [[nodiscard]] double bound() const { return kld.value + kQuantile * kld.error; }
};

/// Bytes of the file and of its tensors besides the choices'.
struct Fixed {
  uint64_t file = 0, tensors = 0;
  double weights = 0;
};

Result<Fixed> fixed_of(const Checkpoint& checkpoint, const std::vector<SearchTensor>& tensors) {
  Picks picks;
  for (const SearchTensor& t : tensors) picks.push_back(t.candidates.size() - 1);
  const Scheme scheme = scheme_of(tensors, picks, "search", "");
  LISSOM_TRY(const Plan plan, make_plan(checkpoint, scheme, true));
  Fixed fixed;
  LISSOM_TRY(fixed.file, planned_file_bytes(checkpoint, scheme, plan));
  fixed.file += kHeaderSlack;
  fixed.tensors = plan.bytes;
  for (const PlanEntry& e : plan.entries) fixed.weights += static_cast<double>(e.shape.elements());
  for (size_t t = 0; t < tensors.size(); ++t) {
    const uint64_t bytes = tensors[t].candidates[picks[t]].bytes;
    fixed.file -= bytes;
    fixed.tensors -= std::min(plan.entries[tensors[t].index].bytes, bytes);
  }
  return fixed;
}

/// What the choices may have; nothing: any number.
std::optional<uint64_t> budget_of(const Limits& limits, const Fixed& fixed) {
  std::optional<uint64_t> budget;
  if (limits.file_bytes > 0) budget = limits.file_bytes > fixed.file ? limits.file_bytes - fixed.file : 0;
  if (limits.bits_per_weight > 0) {
    const double bytes = limits.bits_per_weight * fixed.weights / 8;
    const auto room = bytes > static_cast<double>(fixed.tensors)
                          ? static_cast<uint64_t>(bytes - static_cast<double>(fixed.tensors))
                          : 0;
    budget = std::min(budget.value_or(room), room);
  }
  return budget;
}

tl::unexpected<Error> too_small(const Fixed& fixed, uint64_t least) {
  return bad_input(fmt::format(
      "no choice of codecs is that small: the smallest possible here is a file of {:.1f} MB, {:.2f} bits "
      "per weight",
      megabytes(fixed.file + least), 8.0 * static_cast<double>(fixed.tensors + least) / fixed.weights));
}

class Search {
 public:
  Search(const Checkpoint& checkpoint, const Means& means, const Limits& limits, const Options& options,
         ThreadPool& pool, const Progress& progress)
      : checkpoint_(checkpoint),
        means_(means),
        limits_(limits),
        options_(options),
        effort_(options.effort),
        pool_(pool),
        progress_(progress) {}

  Result<Found> run(ProbeTexts texts) {
    const auto start = std::chrono::steady_clock::now();
    progress_.report("search", 0, 1, "codecs");
    LISSOM_TRY(tensors_, find_candidates(checkpoint_, means_, pool_));
    LISSOM_TRY(fixed_, fixed_of(checkpoint_, tensors_));
    groups_ = groups_of(tensors_, checkpoint_.config.layers, effort_.stretches);
    model_ = DamageModel(&tensors_, &groups_);
    budget_ = budget_of(limits_, fixed_);
    const uint64_t least = least_bytes(model_.items());
    if (budget_ && *budget_ < least) return too_small(fixed_, least);
    choose_windows(effort_.measured, effort_.verified, texts);
    windows_ = static_cast<int64_t>(texts.verify.size());
    positions_ = windows_ * texts.windows.scored();
    LISSOM_TRY(memo_, Memo::open(options_.journal, run_line(texts)));
    expected_ = static_cast<int64_t>(groups_.size()) * (1 + effort_.corrections) + 24 + effort_.verifications +
                effort_.exchanges;
    texts_ = std::move(texts);
    LISSOM_CHECK(measure_groups());
    LISSOM_CHECK(measure_codecs());
    LISSOM_CHECK(measure_activations());
    LISSOM_TRY(const Tried best, budget_ ? within_budget() : smallest());
    LISSOM_TRY(Found found, result_of(best));
    found.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return found;
  }

 private:
  using Values = std::vector<double>;

  [[nodiscard]] std::string run_line(const ProbeTexts& texts) const {
    std::string windows;
    for (const int32_t t : texts.windows.tokens) windows += fmt::format("{} ", t);
    std::string statistics;
    for (const auto& [name, values] : means_) {
      statistics += name;
      statistics.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
    }
    return fmt::format(
        R"({{"search":1,"version":"{}","key":"{}","text":"{}","statistics":"{}","context":{},"effort":[{},{},{}]}})",
        LISSOM_VERSION, options_.key, sha256_hex(windows).substr(0, 32), sha256_hex(statistics).substr(0, 32),
        texts.windows.context, effort_.stretches, texts.measure.size(), texts.verify.size());
  }

  // -------------------------------------------------------------- measurements

  /// The journal's numbers, or those that `measure` gives, which are then in the journal.
  Result<Values> remember(const std::string& name, const std::function<Result<Values>()>& measure) {
    if (progress_.stop_requested()) return tl::unexpected(Error{ErrorKind::cancelled, "stopped"});
    ++measurements_;
    progress_.report("search", std::min(measurements_, expected_ - 1), expected_, name);
    if (const Values* known = memo_->find(name)) {
      ++remembered_;
      return *known;
    }
    if (!probe_) {
      LISSOM_TRY(probe_, Probe::make(checkpoint_, texts_, options_.threads, pool_, progress_));
    }
    LISSOM_TRY(Values values, measure());
    LISSOM_CHECK(memo_->add(name, values));
    return values;
  }

  Result<void> encode(size_t tensor, const std::string& codec, bool decoded, Variants& variants) {
    const SearchTensor& t = tensors_[tensor];
    LISSOM_TRY(variants[t.name], encode_variant(checkpoint_, t.index, codec, decoded, means_, pool_));
    return {};
  }

  /// Mean KL of the source with these tensors in these candidates, by their weights alone.
  Result<double> weights_alone(const std::string& name, const std::vector<std::pair<size_t, size_t>>& chosen) {
    LISSOM_TRY(const Values values, remember(name, [&]() -> Result<Values> {
                 LISSOM_CHECK(probe_->stay_near({}));
                 Variants variants;
                 for (const auto& [tensor, candidate] : chosen)
                   LISSOM_CHECK(encode(tensor, tensors_[tensor].candidates[candidate].codec, true, variants));
                 LISSOM_TRY(const Estimate kld, probe_->divergence(Probe::Text::measure, variants));
                 return Values{kld.value, kld.error};
               }));
    return values.empty() ? 0.0 : values[0];
  }

  Result<void> measure_groups() {
    for (size_t g = 0; g < groups_.size(); ++g) {
      std::vector<std::pair<size_t, size_t>> chosen;
      for (const size_t t : groups_[g].tensors) chosen.emplace_back(t, tensors_[t].reference);
      LISSOM_TRY(const double kld, weights_alone("group " + groups_[g].name, chosen));
      model_.set_group(g, kld);
    }
    return {};
  }

  /// Tensors of some blocks in each codec, against the same in their references.
  Result<void> measure_codecs() {
    const int64_t layers = std::max<int64_t>(checkpoint_.config.layers, 1);
    const int64_t step = std::max<int64_t>(1, layers / kComparedBlocks);
    std::map<std::string, std::vector<std::pair<size_t, size_t>>> by_codec;
    for (size_t t = 0; t < tensors_.size(); ++t) {
      const int64_t block = block_of(tensors_[t].name);
      if (block < 0 || block % step != step / 2) continue;
      for (size_t c = 0; c < tensors_[t].candidates.size(); ++c) {
        const Candidate& candidate = tensors_[t].candidates[c];
        if (!candidate.dominated &&
            find_codec(candidate.codec)->bits_per_weight(tensors_[t].shape) < kMeasuredBits)
          by_codec[candidate.codec].emplace_back(t, c);
      }
    }
    for (const auto& [codec, chosen] : by_codec) {
      std::vector<std::pair<size_t, size_t>> references;
      double expected = 0, expected_reference = 0;
      std::string which;
      for (const auto& [t, c] : chosen) {
        references.emplace_back(t, tensors_[t].reference);
        expected += model_.damage(t, c);
        expected_reference += model_.damage(t, tensors_[t].reference);
        which += tensors_[t].name + " ";
      }
      if (references == chosen) continue;
      LISSOM_TRY(const double kld, weights_alone("codec " + codec, chosen));
      LISSOM_TRY(const double reference,
                 weights_alone("references " + sha256_hex(which).substr(0, 16), references));
      if (expected <= 0 || expected_reference <= 0 || reference <= 0) continue;
      factors_[codec] =
          std::clamp(kld / expected * (expected_reference / reference), kLeastFactor, kMostFactor);
    }
    for (const auto& [codec, factor] : factors_) model_.set_factor(codec, factor);
    return {};
  }

  /// A plan that loses hardly anything but by rounding its activations.
  Result<void> measure_activations() {
    plain_.clear();
    for (const SearchTensor& t : tensors_) {
      size_t pick = 0;
      for (size_t c = 0; c < t.candidates.size(); ++c)
        if (!t.candidates[c].dominated && bits_of(t, c) <= kPlainBits) pick = c;
      plain_.push_back(pick);
    }
    LISSOM_TRY(const Tried tried, try_plan(plain_, "", Probe::Text::measure));
    model_.set_activations(tried.kld.value - model_.damage(plain_));
    return {};
  }

  [[nodiscard]] static double bits_of(const SearchTensor& tensor, size_t candidate) {
    return 8.0 * static_cast<double>(tensor.candidates[candidate].bytes) /
           static_cast<double>(tensor.shape.elements());
  }

  // -------------------------------------------------------------- plans

  [[nodiscard]] std::string digest_of(const Picks& picks) const {
    std::string text;
    for (size_t t = 0; t < picks.size(); ++t) text += tensors_[t].candidates[picks[t]].codec + " ";
    return sha256_hex(text).substr(0, 24);
  }
  [[nodiscard]] uint64_t bytes_of(const Picks& picks) const {
    uint64_t bytes = 0;
    for (size_t t = 0; t < picks.size(); ++t) bytes += tensors_[t].candidates[picks[t]].bytes;
    return bytes;
  }

  /// As the file will hold them. What the plan before had in the same codec is taken over.
  Result<Variants> variants_of(const Picks& picks) {
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

  /// Runs the plan. With a name it is one of the frontier.
  Result<Tried> try_plan(const Picks& picks, const std::string& name, Probe::Text text = Probe::Text::verify) {
    Tried tried{picks, bytes_of(picks), model_.predict(model_.damage(picks)), {}, name};
    const std::string what = text == Probe::Text::verify ? "plan " : "activations ";
    LISSOM_TRY(const Values values, remember(what + digest_of(picks), [&]() -> Result<Values> {
                 LISSOM_TRY(const Variants variants, variants_of(picks));
                 LISSOM_TRY(const Estimate kld, probe_->divergence(text, variants));
                 return Values{kld.value, kld.error};
               }));
    if (values.size() != 2) return bad_input(options_.journal.string() + ": not a journal of this search");
    tried.kld = {values[0], values[1]};
    if (name.empty()) return tried;
    progress_.say(LogLevel::info,
                  fmt::format("search: {:.1f} MB, predicted KL {:.4f}, verified {:.4f} ± {:.4f}{}",
                              megabytes(fixed_.file + tried.bytes), tried.predicted, tried.kld.value,
                              tried.kld.error, name == "search" ? "" : " (" + name + ")"));
    model_.learn(picks, tried.kld.value);
    tried_.push_back(tried);
    return tried;
  }

  [[nodiscard]] Knapsack knapsack(uint64_t most) const { return {model_.items(), most, kCells}; }

  /// The best within the budget by what is known now.
  [[nodiscard]] Picks solve(uint64_t budget) const {
    return model_.candidates_of(*knapsack(budget).within(budget));
  }

  /// What comes back when a group of the plan has the source's weights, against what the model says: the
  /// sensitivities where the plan is, and not where everything else is exact.
  Result<void> correct_around(const Picks& picks) {
    const std::string digest = digest_of(picks);
    const auto measure = [&](const std::string& name, const Group* restored) {
      return remember(name, [&]() -> Result<Values> {
        LISSOM_TRY(Variants variants, variants_of(picks));
        LISSOM_CHECK(probe_->stay_near(variants));
        if (restored != nullptr)
          for (const size_t t : restored->tensors) variants.erase(tensors_[t].name);
        LISSOM_TRY(const Estimate kld, probe_->divergence(Probe::Text::measure, variants));
        return Values{kld.value, kld.error};
      });
    };
    LISSOM_TRY(const Values whole, measure("whole " + digest, nullptr));
    if (whole.empty()) return {};
    std::vector<double> gains, damages;
    double gained = 0, expected = 0;
    for (const Group& group : groups_) {
      LISSOM_TRY(const Values without, measure("restored " + digest + " " + group.name, &group));
      gains.push_back(without.empty() ? 0.0 : std::max(whole[0] - without[0], 0.0));
      damages.push_back(model_.damage_of_group(gains.size() - 1, picks));
      gained += gains.back();
      expected += damages.back();
    }
    if (gained <= 0 || expected <= 0) return {};
    for (size_t g = 0; g < groups_.size(); ++g) {
      if (damages[g] <= 0) continue;
      const double ratio = gains[g] / gained / (damages[g] / expected);
      model_.correct(g, std::clamp(std::pow(ratio, 0.7), kLeastCorrection, kMostCorrection));
    }
    return {};
  }

  /// The built-in scheme that would be taken, where its codecs are candidates.
  [[nodiscard]] std::optional<Picks> picks_of(const Scheme& scheme) const {
    const auto plan = make_plan(checkpoint_, scheme, !means_.empty());
    if (!plan) return std::nullopt;
    Picks picks;
    for (const SearchTensor& t : tensors_) {
      const Candidate* candidate = t.find(plan->entries[t.index].codec);
      if (candidate == nullptr) return std::nullopt;
      picks.push_back(static_cast<size_t>(candidate - t.candidates.data()));
    }
    return picks;
  }

  // -------------------------------------------------------------- within a size

  Result<Tried> within_budget() {
    LISSOM_TRY(Tried best, try_plan(solve(*budget_), "search"));
    const auto better = [&](const Tried& tried) {
      if (tried.kld.value < best.kld.value) best = tried;
    };
    for (int round = 0; round < effort_.corrections; ++round) {
      LISSOM_CHECK(correct_around(best.picks));
      const Picks picks = solve(*budget_);
      if (picks == best.picks) break;
      LISSOM_TRY(const Tried tried, try_plan(picks, "search"));
      better(tried);
    }
    LISSOM_TRY(const Tried exchanged, exchange(best));
    better(exchanged);
    const auto scheme = pick_scheme(checkpoint_, limits_.bits_per_weight, limits_.file_bytes, !means_.empty());
    if (scheme) {
      const std::optional<Picks> picks = picks_of(*scheme);
      if (picks && bytes_of(*picks) <= *budget_) {
        LISSOM_TRY(const Tried tried, try_plan(*picks, scheme->name));
        better(tried);
      }
    }
    if (limits_.max_kld && best.kld.value > *limits_.max_kld)
      return limit_error(fmt::format(
          "nothing within the size meets --max-kld {:g}: the best reached is {:.4f} ± {:.4f} with {:.1f} MB",
          *limits_.max_kld, best.kld.value, best.kld.error, megabytes(fixed_.file + best.bytes)));
    return best;
  }

  /// A group's tensors one choice up or down; nothing where none can.
  [[nodiscard]] std::optional<Picks> shifted(const Picks& picks, const Group& group, int by) const {
    Picks out = picks;
    bool any = false;
    for (const size_t t : group.tensors) {
      const auto& candidates = tensors_[t].candidates;
      for (auto c = static_cast<int64_t>(picks[t]) + by; c >= 0 && c < static_cast<int64_t>(candidates.size());
           c += by) {
        if (candidates[static_cast<size_t>(c)].dominated) continue;
        out[t] = static_cast<size_t>(c);
        any = true;
        break;
      }
    }
    return any ? std::optional(out) : std::nullopt;
  }

  /// One group richer and another poorer within the budget, the most promising first.
  [[nodiscard]] std::vector<Picks> exchanges_of(const Picks& picks) const {
    std::vector<std::pair<double, Picks>> found;
    const double now = model_.damage(picks);
    for (const Group& up : groups_) {
      const auto richer = shifted(picks, up, 1);
      if (!richer) continue;
      for (const Group& down : groups_) {
        if (&up == &down) continue;
        const auto both = shifted(*richer, down, -1);
        if (both && bytes_of(*both) <= *budget_) found.emplace_back(model_.damage(*both) - now, *both);
      }
    }
    std::ranges::stable_sort(found, {}, [](const auto& f) { return f.first; });
    std::vector<Picks> out;
    for (auto& [change, other] : found) out.push_back(std::move(other));
    return out;
  }

  Result<Tried> exchange(const Tried& best) {
    if (effort_.exchanges == 0) return best;
    const auto measured = [&](const Picks& picks, const Picks& near) -> Result<double> {
      LISSOM_TRY(const Values values, remember("exchange " + digest_of(picks), [&]() -> Result<Values> {
                   LISSOM_TRY(const Variants around, variants_of(near));
                   LISSOM_CHECK(probe_->stay_near(around));
                   LISSOM_TRY(const Variants variants, variants_of(picks));
                   LISSOM_TRY(const Estimate kld, probe_->divergence(Probe::Text::measure, variants));
                   return Values{kld.value, kld.error};
                 }));
      return values.empty() ? INFINITY : values[0];
    };
    Picks now = best.picks;
    LISSOM_TRY(double kld, measured(now, now));
    std::set<Picks> seen = {now};
    for (int left = effort_.exchanges; left > 0;) {
      bool accepted = false;
      for (const Picks& picks : exchanges_of(now)) {
        if (left <= 0 || accepted) break;
        if (!seen.insert(picks).second) continue;
        --left;
        LISSOM_TRY(const double other, measured(picks, now));
        if (other >= kld) continue;
        kld = other;
        now = picks;
        accepted = true;
      }
      if (!accepted) break;
    }
    return now == best.picks ? Result<Tried>(best) : try_plan(now, "search");
  }

  // -------------------------------------------------------------- the smallest

  /// A plan of about this damage.
  [[nodiscard]] Picks with_damage(double damage) const {
    if (const auto picks = knapsack(bytes_of(plain_)).smallest(damage)) return model_.candidates_of(*picks);
    uint64_t most = 0;
    for (const SearchTensor& t : tensors_) most += t.candidates.back().bytes;
    const Knapsack all = knapsack(most);
    if (const auto picks = all.smallest(damage)) return model_.candidates_of(*picks);
    return model_.candidates_of(*all.within(most));
  }

  Result<Tried> smallest() {
    const double limit = *limits_.max_kld;
    std::optional<Tried> met, missed;
    double relative = 0.05;  // of the standard error
    const auto attempt = [&](double damage) -> Result<bool> {
      if (missed) damage = std::min(damage, 0.985 * model_.damage(missed->picks));
      if (met) damage = std::max(damage, 1.015 * model_.damage(met->picks));
      const Picks picks = with_damage(damage);
      if ((met && picks == met->picks) || (missed && picks == missed->picks)) return false;
      LISSOM_TRY(const Tried tried, try_plan(picks, "search"));
      if (tried.kld.value > 0) relative = std::min(tried.kld.error / tried.kld.value, 1.0);
      const bool meets = tried.bound() <= limit;
      if (meets && (!met || tried.bytes < met->bytes)) met = tried;
      if (!meets && (!missed || tried.bytes > missed->bytes)) missed = tried;
      if (met && missed && missed->bytes >= met->bytes) missed.reset();
      return true;
    };
    const auto aim = [&] { return model_.damage_for(limit / (1 + kQuantile * relative)); };
    LISSOM_TRY(bool more, attempt(aim()));
    for (int round = 0; round < effort_.corrections; ++round) {
      LISSOM_CHECK(correct_around(tried_.back().picks));
      LISSOM_TRY(more, attempt(aim()));
    }
    for (int i = 1; i < effort_.verifications && more; ++i) {
      const double wanted = aim();
      LISSOM_TRY(more, attempt(met && missed && i % 3 == 2
                                   ? std::sqrt(model_.damage(met->picks) * model_.damage(missed->picks))
                                   : wanted));
    }
    if (!met) {
      LISSOM_TRY(more, attempt(0.5 * aim()));
    }
    if (!met) {
      LISSOM_TRY(more, attempt(0));
    }
    if (met) return *met;
    const Tried& best = *std::ranges::min_element(tried_, {}, [](const Tried& t) { return t.kld.value; });
    return limit_error(fmt::format(
        "no choice of codecs meets --max-kld {:g}: the best reached is {:.5f} ± {:.5f} with {:.1f} MB", limit,
        best.kld.value, best.kld.error, megabytes(fixed_.file + best.bytes)));
  }

  // -------------------------------------------------------------- the result

  [[nodiscard]] Point point_of(const std::string& name, uint64_t bytes, double predicted) const {
    return {name,
            fixed_.file - kHeaderSlack + bytes,
            8.0 * static_cast<double>(fixed_.tensors + bytes) / fixed_.weights,
            predicted,
            {}};
  }

  /// Plans that were run, what the model says of other budgets, and of the built-in schemes.
  [[nodiscard]] std::vector<Point> frontier() const {
    std::vector<Point> points;
    for (const Tried& t : tried_) {
      points.push_back(point_of(t.name, t.bytes, t.predicted));
      points.back().verified = t.kld;
    }
    const uint64_t most = bytes_of(plain_);
    const Knapsack all = knapsack(most);
    const uint64_t least = least_bytes(all.items());
    for (int i = 0; i <= kBudgets; ++i) {
      const uint64_t budget = least + (most - least) / kBudgets * static_cast<uint64_t>(i);
      const auto choices = all.within(budget);
      if (!choices) continue;
      const Choice total = total_of(all.items(), *choices);
      points.push_back(point_of("search", total.bytes, model_.predict(total.damage)));
    }
    for (const std::string& name : scheme_names()) {
      const auto scheme = builtin_scheme(name);
      if (!scheme || !scheme->selectable) continue;
      if (std::ranges::any_of(tried_, [&](const Tried& t) { return t.name == name; })) continue;
      const auto picks = picks_of(*scheme);
      if (picks) points.push_back(point_of(name, bytes_of(*picks), model_.predict(model_.damage(*picks))));
    }
    std::ranges::stable_sort(points, {}, &Point::file_bytes);
    return points;
  }

  Result<Found> result_of(const Tried& best) {
    Found found;
    found.scheme = scheme_of(
        tensors_, best.picks, "search",
        fmt::format(
            "Chosen by measurement for {}{}{}.",
            limits_.file_bytes > 0        ? fmt::format("a file of at most {} bytes", limits_.file_bytes)
            : limits_.bits_per_weight > 0 ? fmt::format("at most {:g} bits per weight", limits_.bits_per_weight)
                                          : "",
            budget_ && limits_.max_kld ? ", " : "",
            limits_.max_kld ? fmt::format("a mean KL divergence of at most {:g}", *limits_.max_kld) : ""));
    found.yaml = scheme_yaml(found.scheme);
    LISSOM_TRY(const Plan plan, make_plan(checkpoint_, found.scheme, !means_.empty()));
    LISSOM_TRY(found.file_bytes, planned_file_bytes(checkpoint_, found.scheme, plan));
    found.kld = best.kld;
    found.kld_bound = best.bound();
    found.frontier = frontier();
    found.measurements = measurements_;
    found.remembered = remembered_;
    found.windows = windows_;
    found.positions = positions_;
    progress_.report("search", expected_, expected_, "");
    return found;
  }

  const Checkpoint& checkpoint_;
  const Means& means_;
  const Limits& limits_;
  const Options& options_;
  const Effort& effort_;
  ThreadPool& pool_;
  const Progress& progress_;
  ProbeTexts texts_;
  std::vector<SearchTensor> tensors_;
  std::vector<Group> groups_;
  Fixed fixed_;
  std::optional<uint64_t> budget_;
  DamageModel model_;
  std::map<std::string, double> factors_;
  std::unique_ptr<Memo> memo_;
  std::unique_ptr<Probe> probe_;  ///< once something has to be measured
  Variants last_;
  Picks plain_;  ///< the richest plan below kPlainBits
  std::vector<Tried> tried_;
  int64_t measurements_ = 0, remembered_ = 0, expected_ = 1, windows_ = 0, positions_ = 0;
};

}  // namespace

Effort effort_of(int level, double weights) {
  Effort effort;
  if (level == 1) effort = {10, 3, 8, 2, 16, 7};
  if (level == 2) effort = {30, 4, 16, 3, 100, 10};
  const double share = std::min(1.0, 135e6 / std::max(weights, 1.0));
  const auto scaled = [&](int64_t count, int64_t least) {
    return std::max(least, static_cast<int64_t>(std::llround(static_cast<double>(count) * std::sqrt(share))));
  };
  effort.stretches = scaled(effort.stretches, 3);
  effort.measured = scaled(effort.measured, 1);
  effort.verified = scaled(effort.verified, 2);
  return effort;
}

uint64_t memory_needed(const Checkpoint& checkpoint) {
  // The source in 16 bits, of which replaced matrices leave gaps; a plan and its kernels' copy; references.
  uint64_t weights = 0, largest = 0;
  for (const TensorInfo& info : checkpoint.tensors->tensors()) {
    const auto elements = static_cast<uint64_t>(info.shape.elements());
    weights += elements;
    largest = std::max(largest, elements);
  }
  return 5 * weights + 6 * largest + (uint64_t{900} << 20U);
}

Result<void> check_size(const Checkpoint& checkpoint, const Limits& limits, bool has_importance) {
  Scheme any;
  any.name = "search";
  any.default_codec = "F16";
  LISSOM_TRY(const Plan plan, make_plan(checkpoint, any, has_importance));
  std::set<std::string> statistics;
  for (const std::string& name : scheme_names()) {
    LISSOM_TRY(const Scheme scheme, builtin_scheme(name));
    statistics.insert(scheme.needs_imatrix.begin(), scheme.needs_imatrix.end());
  }
  std::vector<SearchTensor> tensors;
  for (size_t i = 0; i < plan.entries.size(); ++i) {
    const PlanEntry& entry = plan.entries[i];
    if (entry.kept) continue;
    std::vector<Candidate> forms;
    const auto add = [&](const std::string& codec) {
      forms.push_back(
          {codec, gguf_padded(find_block_codec(codec)->components(entry.shape).front().bytes), 0, false});
    };
    add(entry.from);
    for (const std::string& codec : candidate_codecs())
      if (entry.shape.cols() % find_block_codec(codec)->column_multiple() == 0 &&
          (has_importance || !statistics.contains(codec)))
        add(codec);
    std::ranges::stable_sort(forms, std::ranges::greater{}, &Candidate::bytes);
    tensors.push_back({.index = i, .name = entry.tensor, .shape = entry.shape, .candidates = std::move(forms)});
  }
  LISSOM_TRY(const Fixed fixed, fixed_of(checkpoint, tensors));
  uint64_t least = 0;
  for (const SearchTensor& t : tensors) least += t.candidates.back().bytes;
  const std::optional<uint64_t> budget = budget_of(limits, fixed);
  if (budget && *budget < least) return too_small(fixed, least);
  return {};
}

Result<Found> find_scheme(const Checkpoint& checkpoint, const Tokenizer& tokenizer, std::string_view text,
                          const std::optional<Importance>& importance, const Limits& limits,
                          const Options& options, const Progress& progress) {
  if (limits.bits_per_weight <= 0 && limits.file_bytes == 0 && !limits.max_kld)
    return bad_input("a search needs a limit: bits per weight, a size or a divergence");
  if (limits.max_kld && !(*limits.max_kld > 0))
    return bad_input(fmt::format("--max-kld {:g}: expected more than 0", *limits.max_kld));
  ProbeTexts texts;
  int64_t context = options.context;
  if (checkpoint.config.context > 0) context = std::min(context, checkpoint.config.context);
  LISSOM_TRY(texts.windows, cut_windows(tokenizer, text, context, 0));
  LISSOM_TRY(const Means means, means_of(checkpoint, importance));
  ThreadPool pool(options.threads);
  return Search(checkpoint, means, limits, options, pool, progress).run(std::move(texts));
}

}  // namespace lissom::search
